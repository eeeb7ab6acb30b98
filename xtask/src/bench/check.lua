-- wrk script of `cargo xtask bench`: asks GET /weapp/user as one user after another and
-- checks every answer.
--
-- The first argument is a file with an skey and its openId a line. wrk does not tell
-- response() which connection it is on, so an answer is right when it is for a user of this
-- thread who was asked and not yet answered. With one connection a thread (wrk -t64 -c64)
-- that is exact; with more, at most 64 of 1,000 users could be taken for each other.

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  threads[#threads + 1] = thread
end

function init(args)
  bad, example = 0, ""
  requests, owners, waiting = {}, {}, {}
  for line in io.lines(args[1]) do
    local skey, openid = line:match("^(%S+)\t(%S+)$")
    requests[#requests + 1] = wrk.format("GET", nil, { ["X-WX-Skey"] = skey })
    owners[#owners + 1] = openid
    waiting[openid] = 0
  end
  -- Every thread begins with another user.
  at = number * 37 % #requests
end

function request()
  at = at % #requests + 1
  local owner = owners[at]
  waiting[owner] = waiting[owner] + 1
  return requests[at]
end

local find, sub = string.find, string.sub
local MARK = '"openId":"'

function response(status, headers, body)
  local _, last = find(body, MARK, 1, true)
  if last and status == 200 and sub(body, 1, 9) == '{"code":0' then
    local owner = sub(body, last + 1, find(body, '"', last + 1, true) - 1)
    local count = waiting[owner]
    if count and count > 0 then
      waiting[owner] = count - 1
      return
    end
  end
  bad = bad + 1
  example = status .. " " .. sub(body, 1, 200)
end

function done(summary, latency)
  local all, seen = 0, ""
  for _, thread in ipairs(threads) do
    all = all + thread:get("bad")
    if thread:get("bad") > 0 then seen = thread:get("example") end
  end
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"us":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,"bad":%d,"errors":%d,"status":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    all, e.connect + e.read + e.write + e.timeout, e.status))
  if all > 0 then io.write("a bad answer: " .. seen .. "\n") end
end
