/*
 * What is done to many at once, by buttons: all that match, with the number in the question, the selected ones, and a queue.
 * steer.mjs FILE; FILE is a JSON object of lists of ids: retry, other (both dead), run, cancel, some (all scheduled), discard (dead).
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { BASE, NARROW, TOKEN, WIDE, check, closeClean, getTask, open, showsState, taskPath, untilState } from './harness.mjs';

const ids = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const statesOf = (list) => Promise.all(list.map(async (id) => (await getTask(id)).state));
const allBecome = (list, state) => Promise.all(list.map((id) => untilState(id, state)));
const same = (list, state) => list.map(() => state);

async function openList(page, query, many) {
	await page.goto(`${BASE}/dashboard/#/tasks?${query}`);
	await page.waitForFunction((count) => document.querySelectorAll('#tasks tbody tr').length === count, many);
}

/* First not, then in earnest. */
async function onMatching(page, name, query, list, before, after) {
	await openList(page, query, list.length);
	for (const answer of ['#confirm-no', '#confirm-yes']) {
		assert.deepEqual(await statesOf(list), same(list, before), `${name}: before ${answer}`);
		await page.locator('#matching > summary').click();
		await page.locator(`#matching [data-action="${name}"]`).click();
		await page.locator('#confirm[open]').waitFor();
		assert.match(await page.locator('#confirm-text').textContent(), new RegExp(`^${list.length} tasks match now \\(`), `${name}: the question`);
		await page.locator(answer).click();
		await page.locator('#confirm[open]').waitFor({ state: 'detached' });
	}
	await page.locator('.toast', { hasText: new RegExp(`asked for ${list.length}$`) }).first().waitFor();
	await allBecome(list, after);
}

async function onSelected(page) {
	const [left, ...chosen] = ids.some;
	await openList(page, 'queue=some', ids.some.length);
	for (const id of chosen)
		await page.locator(`[data-select="${id}"]`).check();
	await page.locator('#bulk', { hasText: `${chosen.length} selected` }).waitFor();
	const offered = await page.locator('#bulk [data-action]').evaluateAll((all) => all.map((each) => each.dataset.action));
	assert.deepEqual(offered.sort(), ['cancel', 'discard', 'run'], 'what scheduled tasks are offered');
	await page.locator('#bulk [data-action="run"]').click();
	assert.match(await page.locator('#confirm-title').textContent(), new RegExp(`${chosen.length} selected`));
	await page.locator('#confirm-yes').click();
	await allBecome(chosen, 'succeeded');
	assert.equal((await getTask(left)).state, 'scheduled', 'the one that was not selected');
}

async function pressQueue(page, name, answer) {
	await page.locator(`#queues tr[data-key="mail"] [data-action="${name}"]`).click();
	await page.locator(answer).click();
}

async function onQueue(page) {
	const paused = page.locator('#queues tr[data-key="mail"] .state.paused');
	const isPaused = async () => (await (await fetch(`${BASE}/queues`)).json()).queues.find((each) => each.name === 'mail').paused;
	await page.goto(`${BASE}/dashboard/#/queues`);
	await pressQueue(page, 'pause', '#confirm-no');
	assert.equal(await isPaused(), false, 'after "Leave it"');
	await pressQueue(page, 'pause', '#confirm-yes');
	await paused.waitFor();
	const answer = await page.request.post(`${BASE}/tasks`, { headers: { Authorization: `Bearer ${TOKEN}` }, data: { handler: 'noop', args: {}, queue: 'mail' } });
	const { tasks: [{ id }] } = await answer.json();
	await page.goto(BASE + taskPath(id));
	await showsState(page, 'queued');
	await page.locator('#why', { hasText: 'Its queue, mail, is paused' }).waitFor();
	await page.goto(`${BASE}/dashboard/#/queues`);
	await pressQueue(page, 'resume', '#confirm-yes');
	await untilState(id, 'succeeded');
	await paused.waitFor({ state: 'detached' });
	assert.equal(await isPaused(), false, 'after Resume');
}

await check(async (browser) => {
	const page = await open(browser, { login: true });
	await onMatching(page, 'retry', 'state=dead&queue=retry', ids.retry, 'dead', 'succeeded');
	/* A second attempt, where one was allowed at first. */
	await page.goto(new URL('#/tasks?queue=retry', page.url()).href);
	await page.locator('#tasks tbody tr td[data-name=Attempt]').first().filter({ hasText: /^2$/ }).waitFor();
	await onMatching(page, 'run', 'queue=run', ids.run, 'scheduled', 'succeeded');
	await onMatching(page, 'cancel', 'state=scheduled&queue=cancel', ids.cancel, 'scheduled', 'cancelled');
	await onMatching(page, 'discard', 'state=dead&text=give-up', ids.discard, 'dead', 'cancelled');
	assert.deepEqual(await statesOf(ids.other), same(ids.other, 'dead'), 'those that do not match');
	await openList(page, 'queue=run', ids.run.length);
	await page.setViewportSize(NARROW);
	await page.locator('#matching > summary').click();
	for (const { left, right } of await page.locator('#matching [data-action]').evaluateAll((all) => all.map((each) => each.getBoundingClientRect().toJSON())))
		assert.ok(left >= 0 && right <= NARROW.width, `on a phone, a button from ${left} to ${right}`);
	await page.locator('#matching [data-action="run"]').click();
	await page.locator('.toast', { hasText: 'nothing matches' }).waitFor();
	await page.setViewportSize(WIDE);
	await onSelected(page);
	await onQueue(page);
	await closeClean(page);
});
