/*
 * What the checks in a browser share: Debian's chromium, driven by playwright-core. Each *.mjs beside this
 * is a program that tests/system/browser.sh starts with an instance running:
 *   BASE     where nginx serves it, without a slash at the end
 *   TOKEN    an operator's
 *   MODULES  the node_modules directory with playwright-core and axe-core
 *   HOME, TMPDIR, SHOTS_DIR   for the browser's files; for pictures of what failed, where that is given
 * and that ends with status 1 where something is not as expected. Nothing sleeps for a fixed time: what is
 * to come is waited for, at most PATIENCE_MS.
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';

export const { BASE, TOKEN, MODULES } = process.env;
export const PATIENCE_MS = 15000 * Number(process.env.SLOWNESS ?? 1);
export const WIDE = { width: 1440, height: 900 }, NARROW = { width: 390, height: 844 };

export const need = createRequire(join(MODULES, 'here.js'));
const { chromium } = need('playwright-core');

/* Into every page, before its own scripts: what the content security policy has refused. */
const watchPolicy = () => {
	window.refused = [];
	addEventListener('securitypolicyviolation', (event) => window.refused.push(`${event.effectiveDirective} ${event.blockedURI}`));
};

/*
 * A page of its own, with its own cookies. `faults` gathers what no page may have: errors on the console,
 * exceptions, answers that did not come, requests to other hosts.
 */
export async function open(browser, { path = '/dashboard/', dark = false, size = WIDE, login = false, ignore = () => false } = {}) {
	const context = await browser.newContext({ viewport: size, colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce', locale: 'en-GB', timezoneId: 'UTC' });
	context.setDefaultTimeout(PATIENCE_MS);
	await context.addInitScript(watchPolicy);
	const page = await context.newPage();
	page.faults = [];
	const fault = (text) => { if (!ignore(text)) page.faults.push(text); };
	page.on('console', (message) => { if (message.type() === 'error' || message.type() === 'warning') fault(`console: ${message.text()} (${message.location().url})`); });
	page.on('pageerror', (error) => fault(`exception: ${error}`));
	page.on('dialog', (dialog) => { fault(`dialog: ${dialog.message()}`); dialog.dismiss(); });
	page.on('request', (request) => { if (!request.url().startsWith(BASE) && !/^(data|blob):/.test(request.url())) fault(`asked elsewhere: ${request.url()}`); });
	if (login)
		await logIn(page);
	await page.goto(BASE + path);
	return page;
}

/* Without the form; the form has a check of its own. */
export async function logIn(page) {
	const answer = await page.request.post(`${BASE}/login`, { data: { token: TOKEN } });
	assert.equal(answer.status(), 200, 'the status of POST /login');
}

/* What no page may have; its context is closed. */
export async function closeClean(page) {
	const refused = await page.evaluate(() => window.refused);
	assert.deepEqual(refused, [], 'refused by the content security policy');
	await page.context().close();
	assert.deepEqual(page.faults, [], 'faults of the page');
}

/* As if another tab were before this one, or no longer. */
export const setHidden = (page, hidden) => page.evaluate((value) => {
	Object.defineProperty(document, 'hidden', { configurable: true, get: () => value });
	document.dispatchEvent(new Event('visibilitychange'));
}, hidden);

export async function getTask(id) {
	const answer = await fetch(`${BASE}/tasks/${id}`, { headers: { Authorization: `Bearer ${TOKEN}` } });
	assert.equal(answer.status, 200, `the status of GET /tasks/${id}`);
	return answer.json();
}

/* Polls until check() answers something true, and answers that. */
export async function until(what, check) {
	const deadline = Date.now() + PATIENCE_MS;
	for (;;) {
		const found = await check();
		if (found)
			return found;
		assert.ok(Date.now() < deadline, `waited ${PATIENCE_MS} ms for: ${what}`);
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}

export const untilState = (id, state) => until(`task ${id} ${state}`, async () => (await getTask(id)).state === state);

/* The dashboard says which state the shown task is in; waits until it is this one. */
export const showsState = (page, state) => page.locator(`#task[data-state="${state}"]`).waitFor();

export const taskPath = (id) => `/dashboard/#/tasks/${id}`;

/* Runs the check with a browser, which is gone afterwards whatever happens. */
export async function check(body) {
	const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true,
		chromiumSandbox: process.geteuid() !== 0, args: ['--disable-gpu', '--disable-extensions', '--no-proxy-server', '--force-color-profile=srgb'] });
	try {
		await body(browser);
	} catch (error) {
		console.error(error.stack);
		process.exitCode = 1;
		await pictures(browser);
	} finally {
		await browser.close();
	}
}

/* Of what was open when it failed, where somebody wants them. */
async function pictures(browser) {
	if (!process.env.SHOTS_DIR)
		return;
	let number = 0;
	for (const context of browser.contexts())
		for (const page of context.pages())
			await page.screenshot({ path: join(process.env.SHOTS_DIR, `failed-${++number}.png`) }).catch(() => {});
}
