-- What wrk sends: the same exchange again and again, as tabs do that share a cookie.
-- argument: the cookie

function init(arguments)
  wrk.method = "POST"
  wrk.body = "grant_type=refresh_token&client_id=web-app"
  wrk.headers = {
    ["Host"] = "localhost:8080", ["Content-Type"] = "application/x-www-form-urlencoded", ["Origin"] = "http://localhost:8080",
    ["Sec-Fetch-Site"] = "same-origin", ["Cookie"] = arguments[1],
  }
end

function done(summary)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("\nsent %d refused %d broken %d\n", summary.requests, errors.status, broken))
end
