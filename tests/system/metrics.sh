#!/bin/bash
# What conf/ has for Prometheus and Grafana: rules that fire when they should, names that exist.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

RULES=$CHECKOUT/conf/prometheus/taskring.rules.yml

test_rules_fire_as_they_should() {
	sed "s#RULES#$RULES#" "$CHECKOUT/tests/system/rules_test.yml" >"$WORK/rules_test.yml"
	promtool check rules "$RULES" >"$WORK/out" 2>&1 || fail "$(cat "$WORK/out")"
	promtool check config "$CHECKOUT/conf/prometheus/prometheus.yml" >"$WORK/out" 2>&1 || fail "$(cat "$WORK/out")"
	promtool test rules "$WORK/rules_test.yml" >"$WORK/out" 2>&1 || fail "$(cat "$WORK/out")"
}

# A dashboard or a rule about a metric that nobody gives is silent for ever.
test_every_name_exists() {
	configure
	start_taskd
	"$BUILD/taskstat" -p -n "$NAME" | sed -n 's/^\(taskring_[a-z0-9_]*\).*/\1/p' | sort -u >"$WORK/given"
	stop_taskd
	cat "$RULES" "$CHECKOUT/conf/grafana/taskring.json" | grep -oE 'taskring_[a-z0-9_]+' | sort -u >"$WORK/asked"
	expect "asked for, but not given" "" "$(comm -13 "$WORK/given" "$WORK/asked" | paste -sd' ')"
	[ "$(wc -l <"$WORK/asked")" -gt 20 ] || fail "hardly any name was found: $(cat "$WORK/asked")"
}

# ---- a real Prometheus ----------------------------------------------------------------------

# It scrapes the responder both ways, each fifth of a second, with our rules at a scale of seconds.
start_prometheus() {
	PROMETHEUS_PORT=$(free_port)
	sed -E 's/> 300 and/> 1 and/; s/for: [0-9]+m$/for: 400ms/' "$RULES" >"$WORK/rules.yml"
	cat >"$WORK/prometheus.yml" <<-END
		global: { scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }
		rule_files: [ "$WORK/rules.yml" ]
		scrape_configs:
		  - job_name: openmetrics
		    static_configs: [ { targets: [ "127.0.0.1:$PORT" ] } ]
		  - job_name: text
		    params: { format: [ text ] }
		    static_configs: [ { targets: [ "127.0.0.1:$PORT" ] } ]
	END
	(cd "$WORK" && exec setsid prometheus --config.file="$WORK/prometheus.yml" --storage.tsdb.path="$WORK/tsdb" \
		--web.listen-address="127.0.0.1:$PROMETHEUS_PORT" --log.level=warn) </dev/null >"$WORK/prometheus.log" 2>&1 &
	PROMETHEUS=$!
}

stop_prometheus() {
	kill -TERM "$PROMETHEUS"
	wait_until 15 is_gone "$PROMETHEUS"
}

# Sorted lines of what jq finds in its answer; nothing before it answers.
prometheus() { # API_PATH JQ_FILTER [CURL_OPTION...]
	local path=$1 filter=$2
	shift 2
	curl -s -m 5 --noproxy '*' "$@" "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/$path" | jq -r "$filter" 2>/dev/null | sort
}

value_is() { # EXPRESSION LINES, each "job value"
	[ "$(prometheus query '.data.result[] | .metric.job + " " + .value[1]' -G --data-urlencode "query=$1")" = "$2" ]
}

alerts_are() { # LINES, each "alert job"
	[ "$(prometheus alerts '.data.alerts[] | select(.state == "firing") | .labels.alertname + " " + .labels.job')" = "$1" ]
}

test_prometheus() {
	local hanging
	configure '' 'pool default { queues = { "*" } processes = 1 threads = 1 }
		pool one { queues = { "slow" } processes = 1 threads = 1 }'
	start_taskd
	start_responder
	start_prometheus # takes five seconds before it looks for targets
	request '/metrics?format=text'
	expect "the type" "200 text/plain; version=0.0.4; charset=utf-8" "$STATUS $(header Content-Type)"
	promtool check metrics <"$WORK/body" >"$WORK/out" 2>&1 || fail "promtool check metrics: $(cat "$WORK/out")"
	expect "what promtool says" "" "$(cat "$WORK/out")"
	request /metrics -H 'Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5'
	expect "the type" "200 application/openmetrics-text; version=1.0.0; charset=utf-8" "$STATUS $(header Content-Type)"
	expect "its end" "# EOF" "$(tail -n 1 "$WORK/body")"
	request '/metrics?format=xml'
	expect "another format" 422 "$STATUS"

	wait_until 15 value_is up $'openmetrics 1\ntext 1'
	wait_until 10 value_is taskring_up $'openmetrics 1\ntext 1'
	alerts_are "" || fail "an alert fires while all is well"
	# A queue stalls behind a handler that hangs; work elsewhere goes on.
	hanging=$(push -H sleep -a '{"ms":600000}' -q slow)
	push -H succeed -q slow >/dev/null
	push -H succeed -c 3 >/dev/null
	await task_succeeded=3 task_waiting=1 task_running=1
	wait_until 10 value_is taskring_task_succeeded_total $'openmetrics 3\ntext 3'
	wait_until 10 value_is 'taskring_run_seconds_count' $'openmetrics 3\ntext 3'
	wait_until 10 alerts_are $'TaskringStalled openmetrics\nTaskringStalled text'
	expect "labels" "__name__ alertname alertstate handler instance job le queue severity" "$(prometheus labels '.data[]' | paste -sd' ')"
	# With taskd gone that is the alert, and no other.
	stop_taskd
	wait_until 10 alerts_are $'TaskringDown openmetrics\nTaskringDown text'
	# It is there again, nothing hangs, and all is well.
	start_taskd
	push -C "$hanging" >/dev/null
	await task_succeeded=1 task_cancelled=1
	wait_until 10 alerts_are ""
	stop_prometheus
	stop_responder
	stop_taskd
}

run_tests "$@"
