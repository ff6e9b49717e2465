/*
 * Pages that come back empty although there are more tasks, as they do when few of many match. far.mjs DEAD
 * The answers are made here; a real one of that kind needs hundreds of thousands of tasks.
 */
import assert from 'node:assert/strict';
import process from 'node:process';
import { check, closeClean, getTask, open } from './harness.mjs';

const [dead] = process.argv.slice(2);
const LOOKS_MAX = 20; /* as in app/ui/views/tasks.js */
const LAST = 45; /* the page after which there are no more */

const idOf = (page) => `0190a5b2-${String(1000 - page).padStart(4, '0')}-7000-8000-000000000000`;

await check(async (browser) => {
	const page = await open(browser, { path: '/dashboard/', login: true });
	const found = await getTask(dead);
	const asked = [];
	let dry = 0, done = 0;

	await page.route(/\/tasks\?/, (route) => {
		const cursor = new URL(route.request().url()).searchParams.get('cursor');
		const number = cursor === null ? 1 : 1001 - Number(cursor.slice(9, 13));
		asked.push(number);
		return route.fulfill({ json: { tasks: number === LAST ? [found] : [], next: number === LAST ? null : `/tasks?text=x&cursor=${idOf(number)}` } });
	});
	await page.route(/\/tasks\/retry\?/, (route) => {
		if (!route.request().url().includes('dry_run')) {
			done++;
			return route.fulfill({ json: { matched: 500, asked: 500, next: done === 30 ? null : idOf(done) } });
		}
		dry++;
		return route.fulfill({ json: { matched: dry === 3 ? 1 : 0, asked: 0, next: dry === 3 ? null : idOf(dry) } });
	});
	await page.evaluate(() => { location.hash = '#/tasks?state=dead&text=x'; });

	/* Short pages are joined, so many of them; that there are more to look at is said, and none is taken for the end. */
	await page.locator('#tasks-looked:visible', { hasText: 'Looked back to tasks of' }).waitFor();
	assert.equal(await page.locator('#main .empty').textContent(), 'None of the newest matches. “Older” looks on.');
	assert.deepEqual(asked.slice(0, LOOKS_MAX), Array.from({ length: LOOKS_MAX }, (_, i) => i + 1));
	assert.equal(await page.locator('#tasks-looked time').getAttribute('datetime'), new Date(parseInt(idOf(LOOKS_MAX).replaceAll('-', '').slice(0, 12), 16)).toISOString());

	/* What is counted before one is asked goes on as well. */
	await page.locator('#matching summary').click();
	await page.locator('#matching [data-action="retry"]').click();
	await page.locator('#confirm-text', { hasText: /^1 tasks? match/ }).waitFor();
	assert.equal(dry, 3);
	await page.locator('#confirm-yes').click();
	/* Thirty steps, and one line that says how far it is. */
	await page.locator('.toast', { hasText: /asked for 15,000$/ }).waitFor();
	assert.equal(await page.locator('.toast').count(), 1);

	/* Further pages, to the end. */
	await page.locator('#page-older').click();
	await page.waitForURL((url) => url.hash.includes(idOf(LOOKS_MAX)));
	await page.locator('#tasks-looked:visible').waitFor();
	await page.locator(`#page-older[href*="${idOf(2 * LOOKS_MAX)}"]`).click();
	await page.locator(`#tasks tbody tr[data-key="${dead}"]`).waitFor();
	assert.equal(await page.locator('#tasks-looked').isVisible(), false);
	assert.equal(await page.locator('#page-older').isVisible(), false);
	await closeClean(page);
});
