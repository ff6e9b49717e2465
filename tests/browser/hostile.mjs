/*
 * What a task says is text, whatever it says: in the lists, on its page, in its log, while it runs and when
 * it is dead. hostile.mjs RUNNING DEAD FILE; FILE is the JSON array of the texts that both say everywhere.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { check, closeClean, open, showsState, taskPath } from './harness.mjs';

const [running, dead, file] = process.argv.slice(2);
const texts = JSON.parse(readFileSync(file, 'utf8'));

/* What the texts would do if they were more than text. */
async function expectHarmless(page, where) {
	const seen = await page.evaluate(() => ({ ran: window.ran ?? null, title: document.title,
		elements: [...document.querySelectorAll('img, iframe, object, embed, svg [onload], base, form[action], script:not([src]), [onerror], [onclick], [onmouseover]')].map((each) => each.outerHTML),
		links: [...document.querySelectorAll('a[href]')].map((each) => each.protocol).filter((each) => !/^https?:$/.test(each)) }));
	assert.deepEqual(seen, { ran: null, title: seen.title, elements: [], links: [] }, where);
	assert.ok(!seen.title.includes('ran'), 'the title');
}

/* As the dashboard has it: control characters were taken out on the way. */
async function shows(page, selector, text) {
	await page.waitForFunction(([where, what]) => [...document.querySelectorAll(where)].some((each) => each.textContent.includes(what)), [selector, text]);
}

/* What turns the direction of letters must not reach what stands beside it: time, level and text keep their order. */
async function expectInOrder(page) {
	const lines = await page.locator('#log li[data-level]').evaluateAll((all) => all.map((line) => [...line.childNodes].map((node) => {
		const range = document.createRange();
		range.selectNodeContents(node);
		return range.getBoundingClientRect();
	}).filter((box) => box.width > 4).map((box) => Math.round(box.left))));
	assert.equal(lines.length, texts.length, 'lines of the log');
	for (const lefts of lines)
		assert.deepEqual(lefts, [...lefts].sort((a, b) => a - b), 'the parts of a line, from left to right');
}

await check(async (browser) => {
	const page = await open(browser, { path: taskPath(running), login: true, ignore: (said) => /422.*cursor=%3Cscript/s.test(said) });
	await showsState(page, 'running');
	await shows(page, '#task-progress-text', texts[0]);
	for (const text of texts)
		await shows(page, '#log li', text);
	await expectHarmless(page, 'the page of the running task');

	await page.goto(new URL(taskPath(dead), page.url()).href);
	await showsState(page, 'dead');
	await shows(page, '#task-error', texts.join(' '));
	await page.locator('#arguments').waitFor();
	await shows(page, '#task', texts[1]);
	await expectHarmless(page, 'the page of the dead task');
	await expectInOrder(page);
	await page.locator('#task-edit').click();
	assert.ok((await page.locator('#edit-arguments').inputValue()).includes('ran'));
	await page.locator('#edit [data-close]').click();
	await page.locator('#task-retry').click();
	await page.locator('#confirm-no').click();
	await expectHarmless(page, 'its dialogs');

	for (const filter of ['', '?state=dead', `?text=${encodeURIComponent(texts[0])}`]) {
		await page.goto(new URL(`/dashboard/#/tasks${filter}`, page.url()).href);
		await page.locator(`#tasks tr[data-key="${dead}"]`).waitFor();
		await expectHarmless(page, `the list ${filter}`);
	}
	/* What stands in the address bar is from outside, too. */
	await page.goto(new URL(`/dashboard/#/tasks?handler=x&queue=y&text=${encodeURIComponent('"><img src=x onerror=ran=1>')}&cursor=%3Cscript%3E`, page.url()).href);
	await page.locator('#banner:not([hidden])').waitFor(); /* such a cursor is refused, which the browser says on its console */
	await expectHarmless(page, 'an address');
	await closeClean(page);
});
