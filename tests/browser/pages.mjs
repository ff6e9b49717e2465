/*
 * Every page, light and dark, wide and narrow: it loads without a fault, axe-core finds nothing serious or
 * critical, nothing moves where reduced motion is asked for, it does not scroll sideways, and a picture of it is made.
 *   pages.mjs RUNNING DEAD DIRECTORY    two tasks' ids; where the pictures go
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { NARROW, WIDE, check, closeClean, need, open, taskPath } from './harness.mjs';

const [running, dead, directory] = process.argv.slice(2);
const axe = readFileSync(need.resolve('axe-core/axe.min.js'), 'utf8');

/* Of a page: its name, its address, what is there once it shows what it has, and what to do then. */
const PAGES = [
	['overview', '/dashboard/#/', '#taskd-up:not(:empty)'],
	['tasks', '/dashboard/#/tasks', '#tasks tbody tr'],
	['tasks-selected', '/dashboard/#/tasks?state=dead&text=month', '#tasks tbody tr', (page) => page.locator('#select-all').check()],
	['task-running', taskPath(running), `#task[data-task="${running}"][data-state="running"]`],
	['task-dead', taskPath(dead), `#task[data-task="${dead}"][data-state="dead"]`],
	['queues', '/dashboard/#/queues', '#queues tbody tr'],
	['handlers', '/dashboard/#/handlers', '#handlers tbody tr'],
	['workers', '/dashboard/#/workers', '#workers tbody tr'],
	['ring', '/dashboard/#/ring', '#ring tbody tr, #lanes tbody tr'],
	['docs', '/docs/', '.opblock', (page) => page.locator('[data-path="/register"]').click()],
];

/* An operation with parameters, tried out, and one of another method. */
async function tryItOut(page) {
	await page.keyboard.press('Escape');
	for (const [method, path] of [['delete', '/tasks/{id}'], ['get', '/tasks']]) {
		const block = page.locator(`.opblock-${method}`, { has: page.locator(`[data-path="${path}"]`) });
		await block.locator('.opblock-summary-control').click();
		await block.getByRole('button', { name: 'Try it out' }).click();
		if (method === 'get')
			await block.getByRole('button', { name: 'Execute' }).click();
	}
	await page.locator('.live-responses-table td.response-col_status', { hasText: '200' }).waitFor();
}

/* What opens over a page: the same, and who must be logged in for it. */
const DIALOGS = [
	['docs-try', '/docs/', '.opblock', tryItOut, true],
	['login', '/dashboard/#/queues', '#queues tbody tr', (page) => page.locator('#login-open').click()],
	['edit', taskPath(dead), `#task[data-task="${dead}"]`, (page) => page.locator('#task-edit').click(), true],
	['confirm', taskPath(dead), `#task[data-task="${dead}"]`, (page) => page.locator('#task-discard').click(), true],
	['help', '/dashboard/#/', '#taskd-up:not(:empty)', (page) => page.keyboard.press('?'), true],
];

/* Of the rules only contrast depends on the colours. */
const inspect = (dark) => window.axe.run(document, { resultTypes: ['violations'], ...(dark ? { runOnly: { type: 'rule', values: ['color-contrast'] } } : {}) })
	.then(({ violations }) => violations.filter((each) => ['serious', 'critical'].includes(each.impact)).flatMap((each) =>
		each.nodes.map((node) => `${each.id}: ${node.target.join(' ')}: ${node.failureSummary.split('\n')[1]?.trim()}`)));

/* As it stands: light and dark, in these sizes. */
async function look(page, name, sizes, faults) {
	if (!(await page.evaluate(() => 'axe' in window)))
		await page.evaluate(axe);
	for (const colorScheme of ['light', 'dark']) {
		await page.emulateMedia({ colorScheme });
		/* Reduced motion is asked for; what moved would be inspected with the colours of on its way, too. */
		const moving = await page.evaluate(() => document.getAnimations().length);
		if (moving > 0)
			faults.push(`${name}, ${colorScheme}: ${moving} things move`);
		for (const [width, size] of sizes) {
			await page.setViewportSize(size);
			await page.screenshot({ path: join(directory, `${name}-${colorScheme}-${width}.png`), fullPage: !name.startsWith('docs') });
			const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
			if (over > 0)
				faults.push(`${name}, ${width}: ${over} pixels too wide`);
		}
		faults.push(...(await page.evaluate(inspect, colorScheme === 'dark')).map((fault) => `${name}, ${colorScheme}: ${fault}`));
	}
	await page.emulateMedia({ colorScheme: 'light' });
	await page.setViewportSize(WIDE);
}

/* One page after the other, in one tab; from one of the dashboard to the next nothing is loaded again. */
async function lookAtPages(browser, pages, sizes, faults) {
	let page = null, loggedIn = true;
	for (const [name, path, ready, prepare, login = sizes.length > 1] of pages) {
		if (page === null || login !== loggedIn) {
			if (page !== null)
				await closeClean(page);
			page = await open(browser, { path, login });
			loggedIn = login;
		} else {
			await page.goto(new URL(path, page.url()).href);
		}
		await page.locator(ready).first().waitFor();
		await prepare?.(page);
		await look(page, name, sizes, faults);
		if (await page.locator('dialog[open]').count())
			await page.keyboard.press('Escape');
	}
	await closeClean(page);
}

await check(async (browser) => {
	const faults = [], both = [['wide', WIDE], ['narrow', NARROW]];
	await Promise.all([
		lookAtPages(browser, PAGES.slice(0, 5), both, faults),
		lookAtPages(browser, PAGES.slice(5), both, faults).then(() => lookAtPages(browser, DIALOGS, [['wide', WIDE]], faults)),
	]);
	assert.ok(faults.length === 0, `${faults.length} faults:\n${faults.join('\n')}`);
});
