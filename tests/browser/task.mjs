/*
 * What a task's page tells: its stages with their times, each attempt's error, exit and memory, its log by attempt, JSON that opens
 * and closes, the request's other tasks. task.mjs CRASHED RETRIED GIVEN_UP SIBLING OTHER; the one that was given up
 * had failed eight times, and waited for its ninth attempt.
 */
import assert from 'node:assert/strict';
import process from 'node:process';
import { check, closeClean, open, showsState, taskPath } from './harness.mjs';

const [crashed, retried, givenUp, sibling, other] = process.argv.slice(2);

const goTo = (page, id) => page.goto(new URL(taskPath(id), page.url()).href);
const stagesOf = (page) => page.locator('#timeline .legend li').evaluateAll((all) => all.map((each) => each.textContent));
/* Column by name. */
const attemptsOf = (page) => page.locator('#attempts tbody tr').evaluateAll((rows) => rows.map((row) => Object.fromEntries([...row.cells].map((cell) => [cell.dataset.name, cell.textContent]))));

async function seeCrashed(page) {
	await showsState(page, 'dead');
	const attempts = await attemptsOf(page);
	assert.deepEqual(attempts.map((each) => [each['#'], each.Outcome, each.Exit]), [['1', 'crashed', 'SIGSEGV'], ['2', 'crashed', 'SIGSEGV']]);
	for (const attempt of attempts)
		assert.match(attempt['Peak memory'], /^[\d.]+ (MB|KB)$/);
	assert.deepEqual(attempts.map((each) => each.Verdict), ['retry', 'bury']);
	/* The error is said once, above; the first attempt's own stands with it. */
	const error = await page.locator('#task-error').textContent();
	assert.match(error, /signal 11/);
	assert.match(attempts[0].Message, /signal 11/);
	assert.equal(attempts[1].Message, 'as above');
	const stages = await stagesOf(page);
	assert.deepEqual(stages.map((each) => /^(waiting|attempt \d|until the next attempt|verdict) (< 1 ms|[\d.]+ (ms|s))$/.exec(each)?.[1]).filter((name) => name !== 'waiting' && name !== 'verdict'),
		['attempt 1', 'until the next attempt', 'attempt 2']);
}

/* The last twelve stages are named, and how many were before them. */
async function seeGivenUp(page) {
	await showsState(page, 'cancelled');
	const stages = await stagesOf(page);
	assert.equal(stages.length, 13);
	assert.match(stages[0], /^[45] earlier [\d.]+ (ms|s)$/);
	assert.match(stages.at(-2), /^attempt 8 /);
	assert.match(stages.at(-1), /^until cancelled /);
}

/* The server tells of the last attempts only; here it is the last three. */
async function seeLastAttempts(page) {
	await page.route(new RegExp(`/tasks/${givenUp}$`), async (route) => {
		const answer = await route.fetch(), task = await answer.json();
		await route.fulfill({ json: { ...task, attempts: task.attempts.slice(-3) } });
	});
	await page.reload();
	await showsState(page, 'cancelled');
	assert.equal(await page.locator('#attempts-before').innerText(), '5 attempts before these are not shown.');
	assert.match((await stagesOf(page))[0], /^attempts 1 to 5 [\d.]+ (ms|s)$/);
}

async function seeRetried(page) {
	await showsState(page, 'succeeded');
	const lines = await page.locator('#log li').evaluateAll((all) => all.map((each) => (each.className === 'attempt' ? each.textContent : each.querySelector('span').textContent)));
	assert.deepEqual(lines.filter((line) => /^attempt/.test(line)), ['attempt 1', 'attempt 2'], 'the log, by attempt');
	assert.equal(lines.length, 4);
	const json = page.locator('#arguments');
	const deep = json.locator('.json-string', { hasText: '"below"' });
	assert.equal(await deep.isVisible(), false, 'what lies deep is closed');
	await json.locator('summary', { hasText: '{1}' }).last().click();
	await deep.waitFor();
	await json.locator('summary').first().click();
	assert.equal(await deep.isVisible(), false, 'the whole is closed');
}

await check(async (browser) => {
	const page = await open(browser, { path: taskPath(crashed) });
	await seeCrashed(page);
	await goTo(page, retried);
	await seeRetried(page);
	await goTo(page, givenUp);
	await seeGivenUp(page);
	assert.equal(await page.locator('#attempts-before').isVisible(), false);
	await seeLastAttempts(page);
	await goTo(page, sibling);
	await page.locator(`#siblings a[href="#/tasks/${other}"]`).click();
	await page.locator(`#task[data-task="${other}"] #task-id`, { hasText: other }).waitFor();
	await closeClean(page);
});
