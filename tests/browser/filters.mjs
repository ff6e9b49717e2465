/*
 * Each filter of the list of tasks, from the address bar and from the form. filters.mjs FILE; FILE is a JSON object with the
 * ids of four tasks, in the order in which they were made: succeeded, dead, scheduled, retrying.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { BASE, check, closeClean, getTask, open, until } from './harness.mjs';

const ids = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const names = Object.fromEntries(Object.entries(ids).map(([name, id]) => [id, name]));
const ALL = ['retrying', 'scheduled', 'dead', 'succeeded'];

/* Waits until the list shows these, the newest first. */
async function lists(page, wanted, what) {
	let seen = null;
	await until(`${what}: ${wanted} (${seen})`, async () => {
		seen = await page.locator('#tasks tbody tr').evaluateAll((rows) => rows.map((row) => row.dataset.key));
		return seen.map((id) => names[id] ?? id).join() === wanted.join();
	}).catch((error) => { throw new Error(`${error.message}; last seen: ${seen.map((id) => names[id] ?? id)}`); });
}

async function byAddress(page) {
	const { created } = await getTask(ids.scheduled);
	const before = new Date(Date.parse(created) - 1).toISOString();
	const cases = [
		['', ALL],
		['state=dead', ['dead']],
		['state=dead&state=scheduled', ['scheduled', 'dead']],
		['handler=noop', ['scheduled', 'succeeded']],
		['queue=beta', ['retrying', 'dead']],
		['text=grace', ['dead']],
		[`text=${ids.succeeded}`, ['succeeded']],
		['text=nobody-said-this', []],
		['arg=email%3Dada@example.org', ['succeeded']],
		['arg=list[1].deep%3D7', ['dead']],
		['arg=list[1].deep%3D7&arg=email%3Dada@example.org', []],
		[`from=${created}`, ['retrying', 'scheduled']],
		[`to=${before}`, ['dead', 'succeeded']],
		[`from=${created}&state=scheduled&queue=alpha&handler=noop&text=ada`, ['scheduled']],
	];
	for (const [query, wanted] of cases) {
		await page.goto(`${BASE}/dashboard/#/tasks?${query}`);
		await lists(page, wanted, query);
	}
	/* What the address asks for stands in the form. */
	assert.deepEqual(await page.evaluate(() => [document.querySelector('#filter-handler').value, document.querySelector('#filter-queue').value,
		document.querySelector('#filter-text').value, document.querySelector('#filter [value=scheduled]').checked]), ['noop', 'alpha', 'ada', true]);
}

async function byForm(page) {
	await page.locator('#filter-clear').click();
	await lists(page, ALL, 'Clear');
	await page.locator('#filter [value=dead]').check();
	await lists(page, ['dead'], 'a state');
	await page.locator('#filter [value=dead]').uncheck();
	await page.locator('#filter-queue').fill('alpha');
	await page.locator('#filter-apply').click();
	await lists(page, ['scheduled', 'succeeded'], 'a queue');
	await page.locator('#filter summary').click();
	await page.locator('#filter .argument').fill('email=ada@example.org');
	await page.locator('#filter .argument').press('Enter');
	await lists(page, ['succeeded'], 'an argument');
	assert.equal(await page.evaluate(() => location.hash), '#/tasks?queue=alpha&arg=email%3Dada%40example.org');
	await page.locator('#filter-from').fill('2001-01-01T00:00');
	await page.locator('#filter-to').fill('2001-01-02T00:00');
	await page.locator('#filter-apply').click();
	await lists(page, [], 'a time');
	await page.goBack();
	await lists(page, ['succeeded'], 'Back');
	await page.goBack();
	await lists(page, ['scheduled', 'succeeded'], 'Back again');
}

await check(async (browser) => {
	const page = await open(browser);
	await byAddress(page);
	await byForm(page);
	await closeClean(page);
});
