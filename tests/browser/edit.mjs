/* A dead task is edited and retried; the new one succeeds, and the old one is discarded. edit.mjs ID */
import assert from 'node:assert/strict';
import process from 'node:process';
import { check, closeClean, getTask, open, showsState, taskPath, untilState } from './harness.mjs';

const [id] = process.argv.slice(2);

await check(async (browser) => {
	const page = await open(browser, { path: taskPath(id), login: true });
	await showsState(page, 'dead');
	assert.equal(await page.locator('#task-error').textContent(), 'no such month');
	await page.locator('#task-edit').click();
	const text = page.locator('#edit-arguments');
	assert.deepEqual(JSON.parse(await text.inputValue()), { month: 13, error: 'no such month' });
	await text.fill('{"month": 12');
	await page.locator('#edit-yes').click();
	await page.locator('#edit-fault', { hasText: 'not JSON' }).waitFor();
	await text.fill('{"month": 12, "result": {"cents": 1234}}');
	await page.locator('#edit-yes').click();
	await page.waitForURL((url) => /^#\/tasks\//.test(url.hash) && !url.hash.endsWith(id));
	await showsState(page, 'succeeded');
	const made = (await page.locator('#task-id').textContent()).trim();
	assert.deepEqual((await getTask(made)).result, { cents: 1234 });
	await untilState(id, 'cancelled');
	await closeClean(page);
});
