-- What wrk sends: requests made beforehand, in turn, so that the load costs little beside what is measured.
-- arguments: a file with a token a line, and how many of them to use

local requests, at = {}, 0

function init(arguments)
  local count = tonumber(arguments[2])
  local headers = { ["Host"] = "localhost:8080", ["Accept"] = "application/json", ["Accept-Encoding"] = "gzip, br", ["User-Agent"] = "tollgate-bench" }
  for token in io.lines(arguments[1]) do
    if #requests == count then break end
    headers["Authorization"] = "Bearer " .. token
    requests[#requests + 1] = wrk.format("GET", string.format("/api/things/%d?page=2", #requests % 256), headers)
  end
  assert(#requests == count, "too few tokens")
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("\nsent %d refused %d broken %d\n", summary.requests, errors.status, broken))
end
