-- For wrk: POST /register, and one line at the end: requests a second that were
-- answered with 2xx, p99 in us, and how many were not.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"email":"ada@example.org","name":"Ada Lovelace"}'

done = function(summary, latency, requests)
	local errors = summary.errors
	local accepted = summary.requests - errors.status
	io.write(string.format("result %d %d %d\n", accepted * 1000000 / summary.duration, latency:percentile(99),
		errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
