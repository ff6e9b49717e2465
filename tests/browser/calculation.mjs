/* A calculation's bar moves by itself, by events, from where it is to 100 %; nothing is loaded again. */
import assert from 'node:assert/strict';
import { BASE, check, closeClean, getTask, open, showsState } from './harness.mjs';

/* Each value that the bar takes, from the moment it is there. */
const watchBar = () => {
	window.values = [];
	new MutationObserver(() => {
		const bar = document.querySelector('#task-progress');
		const value = bar && Math.floor(100 * bar.value / bar.max);
		if (value !== null && value !== window.values.at(-1))
			window.values.push(value);
	}).observe(document.querySelector('#main'), { subtree: true, childList: true, attributes: true, characterData: true });
};

/* What a look is answered comes late: the bar has moved on by then. Events go straight through. */
async function delayLooks(page, path) {
	await page.route((url) => url.pathname === path, async (route) => {
		const response = await route.fetch();
		const { state } = await response.json();
		const seen = await page.evaluate(() => window.values.length);
		if (state === 'running' && seen > 0)
			await page.waitForFunction((count) => window.values.length > count, seen, { timeout: 1000 }).catch(() => {});
		await route.fulfill({ response });
	});
}

await check(async (browser) => {
	const page = await open(browser);
	await page.locator('#title').waitFor();
	let loads = 0, asked = 0;
	page.on('load', () => loads++);
	page.on('request', (request) => { if (request.url().endsWith('/events')) asked++; });
	await page.evaluate(watchBar);
	const id = await page.evaluate(async (address) => {
		const answer = await fetch(address, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"limit": 1000000000}' });
		const { tasks } = await answer.json();
		return tasks[0].id;
	}, `${BASE}/calculations`);
	await delayLooks(page, `${new URL(BASE).pathname.replace(/\/$/, '')}/tasks/${id}`);
	await page.evaluate((fragment) => { location.hash = fragment; }, `#/tasks/${id}`);
	await page.locator('#task-live', { hasText: 'live' }).waitFor();
	await showsState(page, 'succeeded');
	await page.locator('#task-progress-text', { hasText: '100 %' }).waitFor();
	const values = await page.evaluate(() => window.values);
	console.log(`the bar took ${values.length} values`);
	assert.equal(values.at(-1), 100, 'the last value of the bar');
	assert.ok(values.length >= 5, `the bar moved: ${values}`);
	assert.deepEqual(values, [...values].sort((a, b) => a - b), 'the bar never goes back');
	assert.equal((await getTask(id)).result.primes, 50847534);
	assert.equal(loads, 0, 'the page was loaded again');
	assert.equal(asked, 1, 'streams that were opened');
	await closeClean(page);
});
