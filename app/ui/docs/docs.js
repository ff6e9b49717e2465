// Starts Swagger UI on the description that this server gives. Addresses are relative to this page,
// so it works under any path prefix; nothing is asked of any other server.
// Light or dark is what the system prefers, or what was chosen here or on the dashboard.
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => document.documentElement.classList.contains("dark-mode");

function applyTheme() {
	const chosen = localStorage.getItem("theme");
	document.documentElement.classList.toggle("dark-mode", chosen ? chosen === "dark" : prefersDark.matches);
}

function switchTheme() {
	if (isDark() === prefersDark.matches)
		localStorage.setItem("theme", isDark() ? "light" : "dark");
	else
		localStorage.removeItem("theme"); // what the system prefers needs no choice
	applyTheme();
}

prefersDark.addEventListener("change", applyTheme);
applyTheme();

// What Swagger UI leaves out: names of its fields, and keys to scroll by.
function mend() {
	document.getElementById("servers")?.setAttribute("aria-label", "Server"); // its own label is empty
	for (const list of document.querySelectorAll("tr[data-param-name] select:not([aria-label])"))
		list.setAttribute("aria-label", list.closest("tr").dataset.paramName);
	for (const text of document.querySelectorAll(".microlight:not([tabindex])"))
		text.tabIndex = 0;
}

window.addEventListener("DOMContentLoaded", () => {
	document.getElementById("theme").addEventListener("click", switchTheme);
	new MutationObserver(mend).observe(document.getElementById("api"), { childList: true, subtree: true });
	window.SwaggerUIBundle({
		url: new URL("../openapi.json", document.baseURI).href,
		dom_id: "#api",
		deepLinking: false, // it puts a link into each button, which keyboards and screen readers stumble over
		displayRequestDuration: true,
		persistAuthorization: false, // a token is forgotten with the page
		showMutatedRequest: false,
		validatorUrl: null, // no badge from elsewhere
	});
});
