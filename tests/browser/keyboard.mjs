/* The main actions without a mouse. keyboard.mjs RUNNING DEAD */
import assert from 'node:assert/strict';
import process from 'node:process';
import { TOKEN, check, closeClean, getTask, open, showsState, until, untilState } from './harness.mjs';

const [running, dead] = process.argv.slice(2);

const focused = (page) => page.evaluate(() => document.activeElement?.id || document.activeElement?.dataset?.select || document.activeElement?.getAttribute('href') || document.activeElement?.tagName);

/* Tab until this has the focus; it must be seen that it has. */
async function tabTo(page, wanted) {
	for (let presses = 0; presses < 80; presses++) {
		await page.keyboard.press('Tab');
		if ((await focused(page)) === wanted) {
			const seen = await page.evaluate(() => {
				const style = getComputedStyle(document.activeElement);
				return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
			});
			assert.ok(seen, `it cannot be seen that ${wanted} has the focus`);
			return;
		}
	}
	assert.fail(`Tab does not reach ${wanted}`);
}

/* Two keys in quick succession, which a busy machine may not be able to give: then once more. */
async function go(page, key, hash) {
	await until(`g ${key}`, async () => {
		await page.keyboard.press('g');
		await page.keyboard.press(key);
		return (await page.evaluate(() => location.hash)) === hash;
	});
}

/*
 * A button that has the focus keeps it while the page looks again: here at once, many times. A test of what failed
 * once on a busy machine.
 */
async function keepsFocus(page, id) {
	for (let looks = 0; looks < 5; looks++) {
		await Promise.all([page.waitForResponse((answer) => answer.url().endsWith(`/tasks/${running}`)), page.keyboard.press('r')]);
		await page.waitForFunction(() => new Promise((resolve) => requestAnimationFrame(() => resolve(true))));
		assert.equal(await focused(page), id, 'what has the focus after a look');
	}
}

await check(async (browser) => {
	const page = await open(browser);
	await page.locator('#taskd-up:not(:empty)').waitFor();
	await page.keyboard.press('Tab');
	assert.equal(await focused(page), 'skip');
	await page.keyboard.press('Enter');
	assert.equal(await focused(page), 'main');

	await page.keyboard.press('Shift+Tab');
	await page.locator('body').press('Home');
	await page.evaluate(() => document.activeElement.blur());
	await tabTo(page, 'login-open');
	await page.keyboard.press('Enter');
	await page.keyboard.type(TOKEN);
	await page.keyboard.press('Enter');
	await page.locator('#who', { hasText: 'ada' }).waitFor();

	/* To the tasks, the running one, Cancel, "Leave it" by Escape, then in earnest. */
	await go(page, 't', '#/tasks');
	await page.locator(`#tasks tr[data-key="${running}"]`).waitFor();
	for (let presses = 0; presses < 20 && (await focused(page)) !== `#/tasks/${running}`; presses++)
		await page.keyboard.press('j');
	await page.keyboard.press('Enter');
	await showsState(page, 'running');
	await tabTo(page, 'task-cancel');
	await keepsFocus(page, 'task-cancel');
	await page.keyboard.press('Enter');
	await page.locator('#confirm[open]').waitFor();
	assert.equal(await focused(page), 'confirm-no', 'what has the focus in the question');
	await page.keyboard.press('Escape');
	await page.locator('#confirm[open]').waitFor({ state: 'detached' });
	assert.equal((await getTask(running)).state, 'running', 'after Escape');
	await tabTo(page, 'task-cancel');
	await page.keyboard.press('Space');
	await tabTo(page, 'confirm-yes');
	await page.keyboard.press('Enter');
	await showsState(page, 'cancelled');

	/* A filter, a selection, and what is done with it. */
	await go(page, 'd', '#/tasks?state=dead');
	await page.locator(`#tasks tr[data-key="${dead}"]`).waitFor();
	await page.keyboard.press('j');
	await page.keyboard.press('x');
	await page.locator('#bulk', { hasText: '1 selected' }).waitFor();
	await page.locator('#bulk [data-action="discard"]').focus();
	await page.keyboard.press('Enter');
	await tabTo(page, 'confirm-yes');
	await page.keyboard.press('Enter');
	await untilState(dead, 'cancelled');
	await closeClean(page);
});
