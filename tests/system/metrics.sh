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

run_tests "$@"
