"""What the server is asked: one script each, which is atomic there, and begins by asking the server who it is.

Guarantees: a script answers, or changes something, only on a master whose run the stamp knows. So neither a restart, a
failover, a demotion nor a FLUSHALL can come between a look at the server and the deed.
How: a *run* is one life of the data: that of a process, for as long as it is nobody's replica. Each script has the run_id
of the process in its text. So a process that was not looked at does not know the script's hash, whatever stands between it
and us: NOSCRIPT means that it has to be looked at. The rest is asked in the script: a process that was a replica meanwhile
has another master_replid2.

Three keys, all under one hash tag. `records` has the stamp, the records ("NUMBER DATA") and the beats ("MICROSECONDS
NONCE"): whoever loses some of it loses the stamp as well. `keys` has the records' keys in order, and `until` how long beats
are kept. Numbers are compared as decimal text: Lua's own have 53 bits.

The stamp is "RUN BEFORE FLOOR UNTIL LONGEST SURE RECENT WEEK". RUN is run_id, and BEFORE is master_replid2, which is zero
where this process was never a replica, or is a master for long. FLOOR: numbers below it are of a run that may have lost
something. UNTIL: until then nothing is claimed in this run; 0, once that is over. LONGEST: the longest lease. SURE: nothing
that was confirmed in this run can be lost. RECENT: the longest lease since WEEK; it becomes LONGEST when no beat from
before WEEK is kept any more. So a lease that nobody uses any more is not waited for. Times are in microseconds.
"""

from __future__ import annotations

import functools
import hashlib
import re

__all__ = [
    "ADVANCE",
    "BEAT",
    "FORGET",
    "HEARD",
    "LOOK",
    "READ",
    "REPORT",
    "SCAN",
    "STAMP",
    "SURVEY",
    "Script",
    "marker",
    "stamped",
]

_SERVER = """
if not redis.REDIS_VERSION_NUM then redis.replicate_commands() end
local H, KEYS_, UNTIL = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local info = redis.call('INFO', 'replication')
local RUN = '$RUN'
local is_master = string.find(info, 'role:master', 1, true)
local run, before, floor, ends, longest, sure, recently
local stamp = redis.call('HGET', H, 'stamp')
if stamp then
  run, before, floor, ends, longest, sure, recently = string.match(
    stamp, '^(%x+) (%x+) (%d+) (%d+) (%d+) ([01]) (%d+ %d+)$')
end
local is_known = run == RUN and (string.find(info, 'master_replid2:' .. before .. '\\r', 1, true)
  or string.find(info, 'master_replid2:0000000000000000000000000000000000000000', 1, true))
local function put_stamp()
  redis.call('HSET', H, 'stamp', table.concat({run, before, floor, ends, longest, sure, recently}, ' '))
end
local function whole(number) return string.format('%.0f', number) end
"""
"""Plain finds, and `is_alone` only where it matters: this is a third of what the server does for a transition."""

_KNOWN_RUN = (
    _SERVER
    + """
if not is_master or not is_known or (sure == '1' and not string.find(info, 'connected_slaves:0', 1, true)) then
  return {'run', now}
end
"""
)

_STANDS = """
local function stands(kind, value)
  local number, data = '0', ''
  if value then
    local gap = string.find(value, ' ', 1, true)
    number, data = string.sub(value, 1, gap - 1), string.sub(value, gap + 1)
  end
  if kind ~= 'ticket' and (#number < #floor or (#number == #floor and number < floor)) then
    number = floor
    if kind == 'claim' then data = '' end
  end
  return number, data
end
"""

_READ = """
local kind, key = ARGV[1], ARGV[2]
local number, data = stands(kind, redis.call('HGET', H, kind .. '/' .. key))
return {'ok', now, number, data}
"""

_ADVANCE = """
local kind, key, after, new, data = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local field = kind .. '/' .. key
if now < tonumber(ARGV[6]) then return {'clock', now} end
if kind == 'claim' then
  local left = ends - now
  if left > longest * 4 / 3 + 1 then
    left = longest * 4 / 3
    ends = whole(now + left)
    put_stamp()
  end
  if left > 0 then return {'settling', now, left} end
  if ends ~= '0' then  -- Over once and for all: whatever leases come later, and whatever the clock is set to.
    ends = '0'
    put_stamp()
  end
end
local value = redis.call('HGET', H, field)
local number, found = stands(kind, value)
local late = now > tonumber(ARGV[7])
if late or number ~= after then
  if ARGV[8] == '1' and number == new and found == data then redis.call('HSET', H, field, value) end
  return {late and 'late' or 'lost', now, number, found}
end
redis.call('HSET', H, field, new .. ' ' .. data)
if not value then redis.call('ZADD', KEYS_, 0, field) end
if kind ~= 'session' then redis.call('PUBLISH', ARGV[9], #data > 500 and new or new .. ' ' .. data) end
if ARGV[10] == '' then return {'won', now} end
return {'won', now, stands('session', redis.call('HGET', H, 'session/' .. ARGV[10]))}
"""
"""The last writes what stands there already, so that WAIT has something to wait for: see `?wait`."""

_PAGE = """
local kind, limit = ARGV[1], tonumber(ARGV[4])
local fields = redis.call('ZRANGEBYLEX', KEYS_, ARGV[2], ARGV[3], 'LIMIT', 0, limit)
local found = {'ok', now}
local function page(note)
  for first = 1, #fields, 1000 do
    local values = redis.call('HMGET', H, unpack(fields, first, math.min(first + 999, #fields)))
    for place, value in ipairs(values) do
      local number, data = stands(kind, value)
      found[#found + 1] = string.sub(fields[first + place - 1], #kind + 2)
      found[#found + 1] = number
      found[#found + 1] = data
      note(data)
    end
  end
end
"""

_SCAN = """
page(function(data) end)
return found
"""

_SURVEY = """
found[3] = #fields
local words, is_known = {}, {}
page(function(data)
  local word = word_in(data)
  found[#found + 1] = word
  if word ~= '' and not is_known[word] then
    is_known[word] = true
    words[#words + 1] = word
  end
end)
for _, word in ipairs(words) do
  local number, data = '0', ''
  if kind == 'claim' then number, data = session_of(word) end
  found[#found + 1] = word
  found[#found + 1] = number
  found[#found + 1] = data
  found[#found + 1] = beat_of(word)
end
return found
"""
"""How many records there are; of each its key, number, data and word; then of each word what is known of it."""

_FORGET = """
local kind, key = ARGV[1], ARGV[2]
local field = kind .. '/' .. key
local gone = redis.call('HDEL', H, field)
if kind == 'beat' then
  redis.call('ZREM', UNTIL, key)
else
  redis.call('ZREM', KEYS_, field)
  if kind == 'ticket' and gone == 1 then redis.call('PUBLISH', ARGV[3], '') end
end
return {'ok', now}
"""

_BEAT = """
local word, lease, keep = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local recent, week = string.match(recently, '^(%d+) (%d+)$')
local is_over = now > week + 604800000000 + 2 * longest
if is_over or lease > tonumber(recent) then
  if now < tonumber(ends) and lease > tonumber(longest) then ends = whole(ends + (lease - longest) * 4 / 3) end
  longest = whole(math.max(is_over and recent or longest, lease))
  recently = whole(lease) .. ' ' .. (is_over and whole(now) or week)
  put_stamp()
end
redis.call('HSET', H, 'beat/' .. word, whole(now) .. ' ' .. ARGV[4])
redis.call('ZADD', UNTIL, whole(now + keep), word)
for _, old in ipairs(redis.call('ZRANGEBYSCORE', UNTIL, '-inf', whole(now), 'LIMIT', 0, 10)) do
  redis.call('HDEL', H, 'beat/' .. old)
  redis.call('ZREM', UNTIL, old)
end
"""
_BEATEN = "return {'ok', now}"
_REPORTED = """
local number, data = stands('session', redis.call('HGET', H, 'session/' .. ARGV[5]))
return {'ok', now, number, data}
"""
"""What is not kept any more goes away with the next beats, ten with each: nothing expires, so nothing can be evicted."""

_HEARD = """
return {'ok', now, redis.call('HGET', H, 'beat/' .. ARGV[1]) or ''}
"""

_HOLDER = """
local function word_in(data)
  if data == '' then return '' end
  local is_json, fields = pcall(cjson.decode, data)
  return is_json and type(fields) == 'table' and type(fields.word) == 'string' and fields.word or ''
end
local function session_of(word)
  return stands('session', redis.call('HGET', H, 'session/' .. string.match(word, '^[^/]*')))
end
local function beat_of(word) return redis.call('HGET', H, 'beat/' .. word) or '' end
"""

_LOOK = """
local number, data = stands('claim', redis.call('HGET', H, 'claim/' .. ARGV[1]))
local word = word_in(data)
if word == '' then return {'ok', now, number, data, ''} end
local session, registration = session_of(word)
return {'ok', now, number, data, word, session, registration, beat_of(word)}
"""

_STAMP = """
local BEFORE = string.match(info, 'master_replid2:(%x+)')
if not is_master or BEFORE ~= ARGV[1] then return {'run', now} end
local safety = string.find(info, 'connected_slaves:0', 1, true) and ARGV[2] or '0'
local sure_now = (safety == '2' or (safety == '1' and sure == '1')) and '1' or '0'
if not run then
  if redis.call('EXISTS', H) == 0 then redis.call('DEL', KEYS_, UNTIL) end
  floor, ends, longest, recently = '0', '0', '0', '0 ' .. whole(now)
end
if tonumber(longest) < tonumber(ARGV[3]) then longest = ARGV[3] end
if not is_known and (sure ~= '1' or safety == '0') then
  floor = whole(math.max(time[1] * 1048576, floor + 16777216))
  ends = whole(now - (run and 0 or tonumber(ARGV[4])) + longest * 4 / 3)
end
run, before, sure = RUN, BEFORE, sure_now
put_stamp()
return {'ok', now}
"""
"""`ARGV[2]`: 0, what is confirmed can be lost; 1, it cannot, if it could not before; 2, it cannot. `ARGV[4]`: for so long
nobody was here.

The floor is a second's worth of 2^20 numbers, as of now; where the clock was set back, 2^24 more than the one before.
"""


class Script(str):
    """A script's text, but for the run."""

    __slots__ = ()

    @functools.lru_cache(maxsize=100)  # noqa: B019 (there are ten, for ever)
    def of(self, run: str) -> tuple[str, str]:
        """Its text for that run, and what the server calls it."""
        text = self.replace("$RUN", run)
        return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


READ = Script(_KNOWN_RUN + _STANDS + _READ)
ADVANCE = Script(_KNOWN_RUN + _STANDS + _ADVANCE)
SCAN = Script(_KNOWN_RUN + _STANDS + _PAGE + _SCAN)
SURVEY = Script(_KNOWN_RUN + _STANDS + _HOLDER + _PAGE + _SURVEY)
FORGET = Script(_KNOWN_RUN + _FORGET)
BEAT = Script(_KNOWN_RUN + _BEAT + _BEATEN)
REPORT = Script(_KNOWN_RUN + _STANDS + _BEAT + _REPORTED)
HEARD = Script(_KNOWN_RUN + _HEARD)
LOOK = Script(_KNOWN_RUN + _STANDS + _HOLDER + _LOOK)
STAMP = Script(_SERVER + _STAMP)


def marker(records: str, run: str) -> tuple[str, str]:
    """A script that does nothing, of a prefix and a run: whether the server knows it says whether that prefix was used.

    FLUSHALL leaves it, as it leaves all scripts, and it ends with the process. Its text, and what the server calls it.
    """
    text = f"return 0 -- looop {records} {run}".replace("\n", " ")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_STAMPED = re.compile(rb"([0-9a-fA-F]+) ([0-9a-fA-F]+) \d+ \d+ \d+ ([01]) \d+ \d+")


def stamped(stamp: bytes | None) -> tuple[str, str, bool]:
    """Which run a stamp knows: RUN, BEFORE, SURE. Empty: none. The scripts read it in the same way."""
    found = _STAMPED.fullmatch(stamp or b"")
    return (found[1].decode(), found[2].decode(), found[3] == b"1") if found else ("", "", False)
