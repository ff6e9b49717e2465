/*
 * The overview: its figures are the server's and those of the pages to which they lead, and move by themselves; the
 * history is there by minute and by hour.
 * What one chooses there, light or dark, holds in /docs and the other way round.
 */
import assert from 'node:assert/strict';
import { BASE, TOKEN, check, closeClean, open, until } from './harness.mjs';

const get = async (path) => (await fetch(`${BASE}/${path}`)).json();
const listed = async (state) => (await get(`tasks?state=${state}&limit=100`)).tasks.length;
const post = (path, body) => fetch(`${BASE}/${path}`, { method: 'POST', body: JSON.stringify(body),
	headers: { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' } });

async function figures(page) {
	const { counters, gauges, workers } = await get('stats');
	const shown = await page.locator('[data-value]').evaluateAll((all) => Object.fromEntries(all.map((each) => [each.dataset.value, each.textContent])));
	return [shown, { running: await listed('running'), waiting: await listed('queued'), scheduled: await listed('scheduled'), retrying: await listed('retrying'),
		dead: await listed('dead'), succeeded: counters.task_succeeded, failed: counters.attempt_failed, utilisation: `${100 * gauges.worker_threads_busy / workers.threads} %` }];
}

async function showsFigures(page) {
	let last;
	await until('the figures of the server', async () => {
		last = await figures(page);
		return Object.entries(last[1]).every(([name, value]) => last[0][name] === String(value));
	}).catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(last)}`); });
}

const theme = (page) => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme);

await check(async (browser) => {
	const page = await open(browser);
	await showsFigures(page);
	const [, { succeeded }] = await figures(page);
	let loads = 0;
	page.on('load', () => loads++);
	const answer = await post('tasks', Array.from({ length: 3 }, () => ({ handler: 'succeed', args: {} })));
	assert.equal(answer.status, 202);
	await page.locator('[data-value="succeeded"]', { hasText: new RegExp(`^${succeeded + 3}$`) }).waitFor();
	const [dead] = (await get('tasks?state=dead')).tasks;
	assert.equal((await post(`tasks/${dead.id}/discard`)).status, 202);
	await page.locator('[data-value="dead"]', { hasText: /^1$/ }).waitFor();
	await showsFigures(page);
	assert.equal(loads, 0, 'the page was loaded again');
	await page.locator('#chart-rates .legend b').nth(1).filter({ hasText: '/s' }).waitFor();
	for (const span of ['hour', 'minute']) {
		await page.locator(`#history [data-span="${span}"]`).click();
		await page.locator(`#history [data-span="${span}"][aria-current="true"]`).waitFor();
		await page.locator('#history-counts .legend b').nth(1).filter({ hasText: /^(12|15|3)$/ }).waitFor();
	}

	assert.equal(await theme(page), 'light');
	await page.locator('#theme').click();
	assert.equal(await theme(page), 'dark');
	await page.locator('#pages a', { hasText: 'API' }).click();
	await page.locator('.opblock').first().waitFor();
	assert.equal(await theme(page), 'dark', 'the theme of /docs');
	await page.locator('#theme').click();
	assert.equal(await theme(page), 'light');
	await page.goBack();
	await page.locator('#taskd-up').waitFor();
	assert.equal(await theme(page), 'light', 'the theme of the dashboard');
	await closeClean(page);
});
