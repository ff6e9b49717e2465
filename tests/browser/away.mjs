/*
 * What the pages say of a task that is not there, and while taskd is away. away.mjs RUNNING TASKD; the process TASKD
 * is killed by this; afterwards away.mjs RUNNING: its board is gone.
 */
import assert from 'node:assert/strict';
import process from 'node:process';
import { check, closeClean, open, showsState, taskPath } from './harness.mjs';

const [running, taskd] = process.argv.slice(2);
const NOBODY = '01890000-0000-7000-8000-000000000000';

const goTo = (page, path) => page.goto(new URL(path, page.url()).href);
const textOf = (page) => page.locator('#main').innerText();

async function seeNoTask(page) {
	await page.locator('#banner', { hasText: /^No such task, or it ended too long ago\.$/ }).waitFor();
	assert.equal(await textOf(page), 'There is nothing to show.', 'the page of no task');
}

async function seeNoHistory(page) {
	await page.route(/\/stats\/history/, (route) => route.fulfill({ status: 503, json: { detail: 'not now' } }));
	await goTo(page, '/dashboard/#/');
	await page.locator('#banner', { hasText: /^Not now\.$/ }).waitFor();
	assert.match(await page.locator('#history').innerText(), /\nLooking…$/, 'a history that cannot be read');
}

async function seeDeath(page) {
	await goTo(page, taskPath(running));
	await showsState(page, 'running');
	assert.equal(await page.locator('#why').isVisible(), false, 'that it runs is said once');
	process.kill(Number(taskd), 'SIGKILL');
	await page.locator('#why:visible', { hasText: 'It was running, attempt 1, when taskd ended' }).waitFor();
	await page.locator('#life', { hasText: 'taskd is dead' }).waitFor();
	/* What one has seen stays. */
	assert.match(await page.locator('#task-id').textContent(), new RegExp(running));
}

/* Somebody else's answer, say a page to log in of what stands before the server; then the server's own again. */
async function seeNoJson(page) {
	const isOther = /\/(stats|queues)$/;
	await page.route(isOther, (route) => route.fulfill({ status: 200, contentType: 'text/html', body: '<p>Log in' }));
	await goTo(page, '/dashboard/#/queues');
	await page.locator('#banner', { hasText: /^The server’s answer cannot be read\.$/ }).waitFor();
	await page.locator('#life', { hasText: 'taskd: not known' }).waitFor();
	await page.unroute(isOther);
	await page.locator('#life', { hasText: 'taskd alive' }).waitFor();
	await page.locator('#queues tbody tr').first().waitFor();
	await page.locator('#banner').waitFor({ state: 'hidden' });
}

/* There is no board: nothing is taken for an empty list, and it is said why there is nothing. */
async function seeNothing(page) {
	await page.locator('#banner', { hasText: /^The board does not exist; taskd has not run, or was stopped\.$/ }).waitFor();
	for (const name of ['queues', 'handlers', 'workers']) {
		await goTo(page, `/dashboard/#/${name}`);
		await page.locator(`#pages a[data-page=${name}][aria-current]`).waitFor();
		await page.locator('#banner:visible', { hasText: 'taskd has not run, or was stopped' }).waitFor();
		assert.match(await textOf(page), /Looking…$/, name);
	}
	/* The journal is there all the same. */
	await goTo(page, '/dashboard/#/tasks');
	await page.locator(`#tasks tbody tr[data-key="${running}"]`).waitFor();
}

await check(async (browser) => {
	const ignore = (said) => /the server responded with a status of (404|503)/.test(said);
	const page = await open(browser, { path: taskd ? taskPath(NOBODY) : '/dashboard/', ignore });
	if (taskd) {
		await seeNoTask(page);
		await seeNoHistory(page);
		await seeNoJson(page);
		await seeDeath(page);
	} else {
		await seeNothing(page);
	}
	await closeClean(page);
});
