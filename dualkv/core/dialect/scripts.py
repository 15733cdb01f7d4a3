"""The fixed scripts that do in ElasticKV what its commands cannot, each one as a transaction.

Both take a list of commands and return the list of their replies; an error rolls back everything. ``ARGV``
holds the commands one behind the other, each as the number of its words and the words. A script is used and
no ``MULTI``, since that takes twelve commands only (``elastickv.md``).

- `RUNNER` calls them.
- `LIBRARY` also knows commands which the store has not, under their names in Redis. Inside a script there is
  neither ``TIME`` nor ``EXPIRE``: times arrive as the milliseconds that are left.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LIBRARY", "OWN_COMMANDS", "RUNNER"]

_LOOP: Final = b"""
local replies, at = {}, 1
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  replies[#replies + 1] = run(ARGV[at + 1], unpack(ARGV, at + 2, last))
  at = last + 1
end
return replies
"""

RUNNER: Final = b"local run = redis.call" + _LOOP
"""Runs commands that the store has."""

_OWN: Final = b"""
local call, own, read, write = redis.call, {}, {}, {}

local function text(number) return string.format('%.0f', number) end

local function kind_of(key)
  local kind = call('TYPE', key)
  return type(kind) == 'table' and kind.ok or kind
end

local function expire(key, left)
  if left > 0 then call('PEXPIRE', key, text(left)) end
end

local function push(name, key, words)
  for first = 1, #words, 500 do
    call(name, key, unpack(words, first, math.min(first + 499, #words)))
  end
end

local function overwrite(key, value)
  local left = call('PTTL', key)
  call('SET', key, value)
  expire(key, left)
end

read.string = function(key) return call('GET', key) end
write.string = function(key, value) call('SET', key, value) end
read.list = function(key) return call('LRANGE', key, '0', '-1') end
write.list = function(key, values) push('RPUSH', key, values) end
read.set = function(key) return call('SMEMBERS', key) end
write.set = function(key, members) push('SADD', key, members) end
read.hash = function(key) return call('HGETALL', key) end
write.hash = function(key, words) push('HSET', key, words) end
read.zset = function(key) return call('ZRANGE', key, '0', '-1', 'WITHSCORES') end
write.zset = function(key, words)
  local turned = {}
  for index = 1, #words, 2 do
    turned[index], turned[index + 1] = words[index + 1], words[index]
  end
  push('ZADD', key, turned)
end
read.stream = function(key) return call('XRANGE', key, '-', '+') end
write.stream = function(key, entries, last)
  for _, entry in ipairs(entries) do call('XADD', key, entry[1], unpack(entry[2])) end
  if #entries == 0 then
    call('XADD', key, last or '0-1', '', '')
    call('XTRIM', key, 'MAXLEN', '0')
  end
end

function own.PERSIST(key)
  if call('PTTL', key) < 0 then return 0 end
  local kind = kind_of(key)
  local state = read[kind](key)
  call('DEL', key)
  write[kind](key, state)
  return 1
end

function own.SET(key, value, option, ...)
  if option ~= 'KEEPTTL' then
    if option then return call('SET', key, value, option, ...) end
    return call('SET', key, value)
  end
  overwrite(key, value)
  return 'OK'
end

function own.SETRANGE(key, offset, value)
  local old = call('GET', key) or ''
  if #value == 0 then return #old end
  local start = tonumber(offset)
  local padding = string.rep('\\0', math.max(0, start - #old))
  local new = string.sub(old, 1, start) .. padding .. value .. string.sub(old, start + #value + 1)
  overwrite(key, new)
  return #new
end

function own.APPEND(key, value)
  local new = (call('GET', key) or '') .. value
  overwrite(key, new)
  return #new
end

function own.SETBIT(key, offset, bit)
  local old = call('GET', key) or ''
  local index, weight = math.floor(tonumber(offset) / 8), 2 ^ (7 - tonumber(offset) % 8)
  local byte = string.byte(old, index + 1) or 0
  local was = math.floor(byte / weight) % 2
  own.SETRANGE(key, index, string.char(byte + (tonumber(bit) - was) * weight))
  return was
end

function own.LINSERT(key, side, pivot, value)
  local at = call('LPOS', key, pivot)
  if not at then return call('LLEN', key) == 0 and 0 or -1 end
  if string.upper(side) == 'AFTER' then at = at + 1 end
  local tail = call('LRANGE', key, text(at), '-1')
  if at == 0 then return call('LPUSH', key, value) end
  if #tail > 0 then call('LTRIM', key, '0', text(at - 1)) end
  table.insert(tail, 1, value)
  push('RPUSH', key, tail)
  return call('LLEN', key)
end

function own.XDEL(key, ...)
  local gone, kept, count, last = {}, {}, 0, nil
  for _, id in ipairs({ ... }) do gone[id] = true end
  for _, entry in ipairs(call('XRANGE', key, '-', '+')) do
    if gone[entry[1]] then
      count, last = count + 1, entry[1]
    else
      kept[#kept + 1] = entry
    end
  end
  if count == 0 then return 0 end
  local left = call('PTTL', key)
  call('DEL', key)
  write.stream(key, kept, last)
  expire(key, left)
  return count
end

function own.XTRIM(key, how, id, ...)
  if string.upper(how) ~= 'MINID' then return call('XTRIM', key, how, id, ...) end
  return call('XTRIM', key, 'MAXLEN', text(#call('XRANGE', key, id, '+')))
end

local function run(name, ...)
  local does = own[name]
  if does then return does(...) end
  return call(name, ...)
end
"""

LIBRARY: Final = _OWN + _LOOP
"""Runs commands that the store has, and `OWN_COMMANDS`."""

OWN_COMMANDS: Final = frozenset({"APPEND", "LINSERT", "PERSIST", "SETBIT", "SETRANGE", "XDEL"})
"""Commands that the store has not and `LIBRARY` does. It also does ``SET … KEEPTTL`` and ``XTRIM … MINID``.

What they cost grows with the size of the key: a list from the place of an ``LINSERT`` on, or the whole value,
is read and written again. ``XDEL`` of the last entry leaves the stream with the last id of what stays.
"""
