/*
 * The tables of queues, handlers and workers, and the ring's figures: what is in them is what has happened.
 * tables.mjs RUNNING PID; a task that runs, and the process that runs it.
 */
import assert from 'node:assert/strict';
import process from 'node:process';
import { check, closeClean, NARROW, open, until } from './harness.mjs';

const [running, pid] = process.argv.slice(2);

/* Of the row: an object of what stands in each column. null: it is not there. */
const rowOf = (page, table, key) => page.evaluate(([id, name]) => {
	const row = [...document.querySelectorAll(`#${id} tbody tr`)].find((each) => each.dataset.key === name || each.innerText.includes(name));
	const names = [...document.querySelectorAll(`#${id} thead th`)].map((each) => each.textContent);
	return row ? Object.fromEntries([...row.cells].map((cell, i) => [names[i], cell.innerText.trim()])) : null;
}, [table, key]);

/* Waits until it is there and has these texts in these columns, or what an expression says of them. */
async function shows(page, table, key, wanted) {
	let seen = null;
	const fits = ([name, value]) => (value instanceof RegExp ? value.test(seen[name]) : seen[name] === value);
	await until(`${table}, ${key}`, async () => {
		seen = await rowOf(page, table, key);
		return seen && Object.entries(wanted).every(fits);
	}).catch((error) => { throw new Error(`${error.message}; last seen: ${JSON.stringify(seen)}`); });
}

/* No part of the table is beyond the edge of the window. */
async function isWhole(page, name) {
	await go(page, name);
	await page.locator(`#${name} tbody tr`).first().waitFor();
	const over = await page.locator('#main .scroll').evaluate((each) => each.scrollWidth - each.clientWidth);
	assert.ok(over <= 0, `${name}: ${over} pixels are beyond the edge`);
}

const go = (page, name) => page.goto(new URL(`#/${name}`, page.url()).href);

await check(async (browser) => {
	const page = await open(browser, { path: '/dashboard/#/queues' });
	await shows(page, 'queues', 'beta', { Queue: /^beta\s+paused$/, Waiting: '2', Oldest: /^[\d.]+ m?s$/, Running: '0', Scheduled: '1', Retrying: '0', Ended: '0' });
	await shows(page, 'queues', 'alpha', { Queue: 'alpha', Waiting: '0', Oldest: '–', Scheduled: '0', Retrying: '1', In: /\/s$/, Out: /\/s$/, Ended: '4' });

	await go(page, 'handlers');
	await shows(page, 'handlers', 'noop', { Started: '3', Failed: '0', Errors: '0 %', Rate: /\/s$/, p50: /^≤ /, 'p99.9': /^≤ / });
	const noop = await rowOf(page, 'handlers', 'noop');
	assert.equal(`≤ ${noop.Durations.split('\n').at(-1)}`, noop['p99.9'], 'where the longest of three ends');
	await shows(page, 'handlers', 'fail_permanently', { Started: '1', Failed: '1', Errors: '100 %' });
	await shows(page, 'handlers', 'count_primes', { Started: '0', Errors: '–', p50: '–' });

	await go(page, 'workers');
	await shows(page, 'workers', pid, { Pool: 'default', State: 'busy', Runs: /^say \S/, Threads: '2', Memory: /^[1-9]/, Restarts: /^[01]$/ });
	assert.equal(await page.locator(`#workers a[href="#/tasks/${running}"]`).count(), 1, 'links to what runs');
	await shows(page, 'workers', 'SIGSEGV', { Restarts: '1', 'Last exit': /^SIGSEGV, .*peak [1-9]/s });
	await until('how many are busy', async () => (await page.locator('#workers-summary').innerText()) === '1 of 2 busy');

	await go(page, 'ring');
	let lanes = '';
	await until('the ring', async () => /^[1-9]\d* live, \d+ dead, [1-9]\d* free · \d+ slots of \d+ bytes each$/.test(lanes = await page.locator('#ring-lanes').innerText()))
		.catch((error) => { throw new Error(`${error.message}; last seen: ${lanes}`); });
	for (const [name, value] of [['refused', '0'], ['damaged', '0'], ['invalid', '0'], ['records', /^[1-9]/]])
		assert.match(await page.locator(`[data-value="${name}"]`).innerText(), value instanceof RegExp ? value : new RegExp(`^${value}$`), name);
	assert.match(await page.locator('#ring-used-text').innerText(), /^\d+ of [\d,]+ cells in use/);
	await shows(page, 'lanes', 'live', { Producer: 'live', Batches: /^[1-9]/ });

	await page.setViewportSize({ width: 960, height: 1000 });
	for (const name of ['tasks', 'queues', 'handlers', 'workers'])
		await isWhole(page, name);
	await page.setViewportSize(NARROW);
	for (const name of ['tasks', 'queues'])
		await isWhole(page, name);
	await closeClean(page);
});
