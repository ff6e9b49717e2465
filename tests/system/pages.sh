#!/bin/bash
# What is served besides JSON: the description of the interface, the pages, and all of it under a path
# prefix. What a browser does with the pages stands in tests of its own.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

POLICY="default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
JSON=(-H 'Content-Type: application/json' -d '{"email":"ada@example.org","name":"Ada"}')

body() { # JQ_FILTER
	jq -r "$1" "$WORK/body"
}

need_pages() {
	[ -e "$BUILD/ui/docs/index.html" ] || fail "the pages were not built; what says 'make all'?"
}

test_description() {
	local tag
	"$CHECKOUT/conf/npm-packages.sh" "$CHECKOUT/tests/browser" "$CHECKOUT/build/npm/tests" 2>"$WORK/npm" || fail "$(cat "$WORK/npm")"
	start_responder
	request /openapi.json
	expect "the answer" "200 application/json no-cache" "$STATUS $(header Content-Type) $(header Cache-Control)"
	node "$CHECKOUT/build/npm/tests/node_modules/.bin/validate-api" "$WORK/body" >"$WORK/valid" 2>&1
	expect "what the validator says" true "$(jq .valid "$WORK/valid")"
	expect "its version" 3.1.0 "$(body .openapi)"
	expect "a right" '[{"bearer":[]},{"cookie":[]}]' "$(jq -c '.paths["/signups"].get.security' "$WORK/body")"
	expect "an example" ada@example.org "$(body '.paths["/register"].post.requestBody.content["application/json"].example.email')"
	tag=$(header ETag)
	request /openapi.json -H "If-None-Match: $tag"
	expect "again" "304 0" "$STATUS $(wc -c <"$WORK/body")"
	stop_responder
}

# Everything that a page names is there, is of the right type, and comes from here.
expect_page() { # PATH
	local name directory=$1
	request "$1" --path-as-is
	expect "$1" "200 text/html; charset=utf-8 no-cache" "$STATUS $(header Content-Type) $(header Cache-Control)"
	expect "what it may do" "$POLICY" "$(header Content-Security-Policy)"
	expect "what else it may not" "nosniff DENY same-origin" \
		"$(header X-Content-Type-Options) $(header X-Frame-Options) $(header Referrer-Policy)"
	cp "$WORK/body" "$WORK/page"
	expect "script or style written into it" "" \
		"$(grep -iE '<script|<style|[[:space:]](on[a-z]+|style)=' "$WORK/page" | grep -vE '^<script [^<>]*src="[^<>]*></script>$' || :)"
	for name in $(grep -oE '(src|href)="[^"#]*"' "$WORK/page" | sed 's/^[^"]*"//; s/"$//'); do
		[[ $name != *:* && $name != /* ]] || fail "$1 names $name"
		[ "$name" != ../dashboard/ ] || [ -e "$CHECKOUT/app/ui/index.html" ] || continue
		request "$directory$name"
		expect "$name of $1" 200 "$STATUS"
		expect "an answer's type is meant" nosniff "$(header X-Content-Type-Options)"
	done
}

test_pages() {
	local path tag
	need_pages
	start_responder -W "$BUILD/ui"
	expect_page /docs/
	[ ! -e "$CHECKOUT/app/ui/index.html" ] || expect_page /dashboard/
	request /docs/vendor/swagger-ui-bundle.js
	expect "Swagger UI" "$(sha256sum <"$BUILD/ui/docs/vendor/swagger-ui-bundle.js")" "$(sha256sum <"$WORK/body")"
	expect "its type" "text/javascript; charset=utf-8" "$(header Content-Type)"
	tag=$(header ETag)
	request /docs/vendor/swagger-ui-bundle.js -H "If-None-Match: \"x\", W/$tag"
	expect "again" "304 0" "$STATUS $(wc -c <"$WORK/body")"
	request /docs/vendor/swagger-ui-bundle.js -H 'Accept-Encoding: gzip'
	expect "packed" gzip "$(header Content-Encoding)"
	request /docs/docs.js -I
	expect "its head" "200 $(wc -c <"$BUILD/ui/docs/docs.js")" "$STATUS $(header Content-Length)"
	request /docs
	expect "the way there" "307 docs/" "$STATUS $(header Location)"
	request /docs/docs.js -X POST
	expect "another method" "405 GET, HEAD, OPTIONS" "$STATUS $(header Allow)"
	for path in /docs/../../obj /docs/%2e%2e/%2e%2e/taskd /docs/..%2f..%2ftaskd /docs//docs.js /docs/vendor /docs/none.js \
		/docs/docs.js%00.css /dashboard/../../../../etc/passwd; do
		request "$path" --path-as-is
		expect_match "$path" '^40[04]$' "$STATUS"
		expect "what $path gets is JSON" string "$(body '.detail | type')"
	done
	stop_responder
}

test_changed_pages() {
	mkdir -p "$WORK/ui/docs"
	echo one >"$WORK/ui/docs/index.html"
	start_responder -W "$WORK/ui"
	request /docs/
	expect "as it was" one "$(cat "$WORK/body")"
	echo two >"$WORK/ui/docs/index.html"
	request /docs/
	expect "read at the start" one "$(cat "$WORK/body")"
	kill -HUP "$APP"
	wait_until 15 page_is two
	# What cannot be read any more is said, and the rest is served.
	rm -r "$WORK/ui"
	kill -HUP "$APP"
	wait_until 15 page_is '{"detail":"there is nothing at this path"}'
	grep -q pages-not-read "$RUN/app.log" || fail "it was not said"
	request /register "${JSON[@]}"
	expect "the rest" 202 "$STATUS"
	stop_responder
}

page_is() { # TEXT
	request /docs/
	[ "$(cat "$WORK/body")" = "$1" ]
}

refused() { # WHAT STATUS OPTION...
	local what=$1 status=$2 found=0
	shift 2
	timeout 10 "$BUILD/taskring-app" -s "$WORK/x.sock" -n "$NAME" "$@" >"$WORK/said" 2>&1 </dev/null || found=$?
	expect "$what" "$status" $found
	[ -s "$WORK/said" ] || fail "$what: nothing is said"
}

test_prefix() {
	local path href
	need_pages
	for path in tools /tools/ / '' //a /a//b /../a /tasks /docs/x '/a b' /a%20b "/$(printf 'a%.0s' {1..128})"; do
		refused "the prefix \"$path\"" 2 -P "$path"
	done
	refused "pages that are not there" 1 -W "$WORK/nowhere"
	configure
	start_taskd
	start_responder -W "$BUILD/ui" -P /tools/x -J "$RUN/journal.db"
	request /tools/x/register "${JSON[@]}"
	expect "a request" 202 "$STATUS"
	href=$(body '.tasks[1].href')
	expect "where its task is" "$(header Location)" "$href"
	request "$href"
	expect "what is there" "200 ${href##*/}" "$STATUS $(body .id)"
	expect_page /tools/x/docs/
	request /tools/x/docs
	expect "the way there" "307 docs/" "$STATUS $(header Location)"
	request /tools/x/openapi.json
	expect "the server, from the description" . "$(body '.servers[0].url')"
	wait_until 15 lists_both
	request "$(body .next)"
	expect "the next page" "200 1" "$STATUS $(body '.tasks | length')"
	# What the web server has taken off already.
	request "${href#/tools/x}"
	expect "without it" 200 "$STATUS"
	stop_taskd
	for path in /tools/xregister /tools/x /tools/nothing /tools/x/tools/x/healthz; do
		request "$path"
		expect "$path" 404 "$STATUS"
	done
	stop_responder
}

lists_both() {
	request '/tools/x/tasks?limit=1'
	[[ $(body .next) == /tools/x/tasks?* ]]
}

# Without npm and without what it once fetched, the rest is built and says what is not.
test_no_npm() {
	local tool
	mkdir -p "$WORK/bin" "$WORK/checkout/app"
	cp -R "$CHECKOUT/conf" "$WORK/checkout"
	cp -R "$CHECKOUT/app/ui" "$WORK/checkout/app"
	for tool in bash dirname cmp rm; do
		ln -s "$(command -v $tool)" "$WORK/bin"
	done
	PATH=$WORK/bin "$WORK/checkout/conf/build-pages.sh" "$WORK/ui" 2>"$WORK/said" || fail "status $?"
	expect "what is said" "npm-packages: there is no npm" "$(head -n 1 "$WORK/said")"
	expect_match "what it means" 'the pages /docs and /dashboard are left out' "$(cat "$WORK/said")"
	[ ! -e "$WORK/ui" ] || fail "it made something"
}

test_locks() {
	local lock
	for lock in app/ui tests/browser; do
		expect "packages without a checksum in $lock" "[]" \
			"$(jq -c '[.packages | to_entries[] | select(.key != "" and .value.integrity == null) | .key]' "$CHECKOUT/$lock/package-lock.json")"
		expect "addresses in it" "" "$(grep -o '"resolved": *"[^"]*"' "$CHECKOUT/$lock/package-lock.json" | grep -v '"https://registry.npmjs.org/')"
	done
}

run_tests "$@"
