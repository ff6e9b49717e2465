/* The README's page follows its task to the end. follow.mjs FILE; FILE is the page, as it stands there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { BASE, check, closeClean, getTask, open } from './harness.mjs';

const text = readFileSync(process.argv[2], 'utf8');
const script = /<script type="module">\n([^]*?)<\/script>/.exec(text)[1];

await check(async (browser) => {
	assert.ok(script.trim().split('\n').length <= 5, 'lines of JavaScript');
	const page = await open(browser, { path: '/healthz', ignore: (said) => /favicon/.test(said) });
	await page.route(`${BASE}/page.html`, (route) => route.fulfill({ contentType: 'text/html; charset=utf-8', body: `<!DOCTYPE html>${text}` }));
	const streams = [];
	page.on('request', (request) => { if (/\/events$/.test(request.url())) streams.push(request.url()); });
	await page.goto(`${BASE}/page.html`);
	await page.evaluate(() => {
		window.values = [];
		new MutationObserver(() => window.values.push(document.querySelector('progress').position)).observe(document.querySelector('progress'), { attributes: true });
	});
	await page.locator('output', { hasText: 'succeeded' }).waitFor();
	const values = await page.evaluate(() => [...window.values, document.querySelector('progress').position]);
	assert.ok(new Set(values.filter((value) => value > 0 && value < 1)).size >= 3, `the bar moved: ${values}`);
	assert.equal(values.at(-1), 1, 'the bar in the end');
	assert.equal(streams.length, 1, 'streams that were opened');
	assert.equal((await getTask(/tasks\/([^/]+)/.exec(streams[0])[1])).state, 'succeeded');
	await closeClean(page);
});
