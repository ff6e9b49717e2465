-- For wrk: POST /register, and one line at the end: requests a second, p99 in us, answers that were not 2xx.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"email":"ada@example.org","name":"Ada Lovelace"}'

done = function(summary, latency, requests)
	local errors = summary.errors
	io.write(string.format("result %d %d %d\n", summary.requests * 1000000 / summary.duration, latency:percentile(99),
		errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
