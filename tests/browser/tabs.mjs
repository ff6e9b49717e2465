/*
 * Many tabs, each with the page of a task that runs: browsers keep six connections to a server, and a stream of events holds one.
 * tabs.mjs RUNNING
 */
import process from 'node:process';
import { BASE, check, closeClean, open, setHidden, showsState, taskPath } from './harness.mjs';

const [running] = process.argv.slice(2);
const TABS = 8;

const isFollowed = (page) => page.locator('#task-live', { hasText: 'live' }).waitFor();

await check(async (browser) => {
	const page = await open(browser, { path: taskPath(running) });
	const tabs = [page];
	await isFollowed(page);
	while (tabs.length < TABS) {
		await setHidden(tabs.at(-1), true);
		tabs.push(await page.context().newPage());
		await tabs.at(-1).goto(BASE + taskPath(running));
		await showsState(tabs.at(-1), 'running');
		await isFollowed(tabs.at(-1));
	}
	/* And back to the first. */
	await setHidden(tabs.at(-1), true);
	await setHidden(page, false);
	await isFollowed(page);
	await closeClean(page);
});
