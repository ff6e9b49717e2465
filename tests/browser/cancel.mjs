/*
 * A running task is cancelled by its button, after logging in with the form; who is not logged in has no
 * button. `again`: after taskd was started anew, it still is.
 *   cancel.mjs first|again ID
 */
import assert from 'node:assert/strict';
import process from 'node:process';
import { TOKEN, check, closeClean, getTask, open, showsState, taskPath } from './harness.mjs';

const [when, id] = process.argv.slice(2);

async function logInByForm(page) {
	await page.locator('#login-open').click();
	await page.locator('#login-token').fill(`${TOKEN.slice(0, -1)}x`);
	await page.locator('#login-yes').click();
	await page.locator('#login-fault:not(:empty)').waitFor();
	await page.locator('#login-token').fill(TOKEN);
	await page.locator('#login-yes').click();
	await page.locator('#who', { hasText: 'ada' }).waitFor();
}

async function cancel(browser) {
	/* The wrong token is refused, which the browser says on its console. */
	const page = await open(browser, { path: taskPath(id), ignore: (text) => /401.*\/login/s.test(text) });
	await showsState(page, 'running');
	assert.equal(await page.locator('#task-cancel').count(), 0, 'who has no right has no button');
	await logInByForm(page);
	assert.ok(!(await page.evaluate(() => document.cookie + location.href + JSON.stringify(localStorage) + JSON.stringify(sessionStorage))).includes(TOKEN),
		'scripts can see the token');
	await page.locator('#task-cancel').click();
	await page.locator('#confirm-no').click();
	assert.equal((await getTask(id)).state, 'running', 'after "Leave it"');
	await page.locator('#task-cancel').click();
	await page.locator('#confirm-yes').click();
	await showsState(page, 'cancelled');
	await page.locator('#logout').click();
	await page.locator('#login-open').waitFor();
	await closeClean(page);
}

async function look(browser) {
	const page = await open(browser, { path: taskPath(id) });
	await showsState(page, 'cancelled');
	await closeClean(page);
}

await check(when === 'first' ? cancel : look);
