/*
 * Nothing is asked of the server while the page is hidden, or its updates are paused; afterwards it looks at once.
 * The page's clock is driven from here. hidden.mjs RUNNING FILE; the task runs until that file is there.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import process from 'node:process';
import { BASE, check, closeClean, open, setHidden, showsState, taskPath, until, untilState } from './harness.mjs';

const [running, file] = process.argv.slice(2);
const MINUTE_MS = 60000;

/* Looks that were under way may end; then a minute at a time goes by. */
async function expectQuiet(page, asked, what) {
	await page.waitForLoadState('networkidle');
	asked.length = 0;
	for (let minutes = 0; minutes < 3; minutes++)
		await page.clock.runFor(MINUTE_MS);
	assert.deepEqual(asked, [], what);
}

const expectLooks = (page, asked, what) => until(what, async () => {
	await page.clock.runFor(5000);
	return asked.length > 2;
});

await check(async (browser) => {
	const page = await open(browser, { path: '/healthz', ignore: (said) => /favicon/.test(said) });
	const asked = [];
	page.on('request', (request) => asked.push(request.url()));
	await page.clock.install();
	for (const [path, ready] of [['/dashboard/#/', '#taskd-up:not(:empty)'], ['/dashboard/#/queues', '#queues tbody tr'], ['/dashboard/#/tasks', '#tasks tbody tr']]) {
		await page.goto(BASE + path);
		await page.locator(ready).first().waitFor();
		await setHidden(page, true);
		await expectQuiet(page, asked, `${path}, hidden`);
		await setHidden(page, false);
		await expectLooks(page, asked, `${path} looks again`);
		await page.locator('#pause-live').click();
		await expectQuiet(page, asked, `${path}, paused`);
		await page.locator('#pause-live').click();
		await expectLooks(page, asked, `${path} goes on`);
	}

	/* The stream of a task's events is closed. */
	await page.goto(BASE + taskPath(running));
	await showsState(page, 'running');
	await page.locator('#task-live', { hasText: 'live' }).waitFor();
	await setHidden(page, true);
	await page.clock.runFor(MINUTE_MS);
	asked.length = 0;
	writeFileSync(file, '');
	await untilState(running, 'succeeded');
	await page.evaluate((address) => fetch(address), `${BASE}/healthz`); /* what came before it is here, too */
	await page.clock.runFor(MINUTE_MS);
	assert.deepEqual(asked.filter((url) => !url.endsWith('/healthz')), [], 'while the task ended');
	await showsState(page, 'running');
	await setHidden(page, false);
	await showsState(page, 'succeeded');
	await closeClean(page);
});
