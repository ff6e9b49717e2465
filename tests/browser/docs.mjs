/* /docs: lists the interface; "Try it out" registers somebody, whose tasks are then done. */
import assert from 'node:assert/strict';
import { BASE, check, closeClean, open, untilState } from './harness.mjs';

await check(async (browser) => {
	const page = await open(browser, { path: '/docs/' });
	await page.locator('.opblock').first().waitFor();
	const described = await (await fetch(`${BASE}/openapi.json`)).json();
	const wanted = Object.entries(described.paths).flatMap(([path, methods]) =>
		Object.keys(methods).filter((name) => /^(get|put|post|delete)$/.test(name)).map((method) => `${method.toUpperCase()} ${path}`));
	/* Swagger UI breaks long paths with characters of no width. */
	const listed = await page.locator('.opblock-summary').evaluateAll((rows) => rows.map((row) =>
		`${row.querySelector('.opblock-summary-method').textContent} ${row.querySelector('[data-path]').dataset.path}`));
	assert.ok(wanted.length > 8, 'the description is empty');
	assert.deepEqual(listed.sort(), wanted.sort(), 'what /docs lists');

	const block = page.locator('.opblock', { has: page.locator('[data-path="/register"]') });
	await block.locator('.opblock-summary-control').click();
	await block.getByRole('button', { name: 'Try it out' }).click();
	await block.locator('textarea').fill('{"email": "grace@example.org", "name": "Grace"}');
	const [answer] = await Promise.all([page.waitForResponse((each) => each.url() === `${BASE}/register`), block.getByRole('button', { name: 'Execute' }).click()]);
	assert.equal(answer.status(), 202);
	await block.locator('.live-responses-table .response-col_status', { hasText: '202' }).waitFor();
	const shown = JSON.parse(await block.locator('.live-responses-table .highlight-code code').first().textContent());
	assert.ok(shown.tasks.length >= 2, 'the tasks that the page shows');
	for (const { id } of shown.tasks)
		await untilState(id, 'succeeded');
	await closeClean(page);
});
