// Starts Swagger UI on the description that this server gives. Addresses are relative to this page,
// so it works under any path prefix; nothing is asked of any other server.
window.addEventListener("DOMContentLoaded", () => {
	window.SwaggerUIBundle({
		url: new URL("../openapi.json", document.baseURI).href,
		dom_id: "#api",
		deepLinking: false, // it puts a link into each button, which keyboards and screen readers stumble over
		displayRequestDuration: true,
		persistAuthorization: false, // a token is forgotten with the page
		showMutatedRequest: false,
		validatorUrl: null, // no badge from elsewhere
		onComplete: () => document.getElementById("servers")?.setAttribute("aria-label", "Server"), // its own label is empty
	});
});
