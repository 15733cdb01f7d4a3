-- One EVAL of ElasticKV: what fails in the middle has done nothing. `scripts.py` puts COMMANDS, OPTIONS,
-- ZADD_OPTIONS and NAN in front. ARGV: the client's script, the most effects (0: any number), its own ARGV.
-- Returns {1, keys, elements, harms, reply} or {0, text}.
local store = redis
local script, most = ARGV[1], tonumber(ARGV[2])
local before, keys, effects, elements, harms, is_too_large = {}, 0, 0, 0, 0, false

local function remember(key)
  if before[key] == nil then
    local payload = store.call('DUMP', key)
    before[key] = payload and { payload, store.call('PTTL', key) }
    keys = keys + 1
  end
end

local function roll_back()
  for key, state in pairs(before) do
    store.call('DEL', key)
    if state then
      store.call('RESTORE', key, state[2] < 0 and 0 or math.max(state[2], 1), state[1])
    end
  end
end

local function shortest(text)
  local number = tonumber(text)
  if not number then return text end
  if number == NAN then return 'NaN' end
  if number == math.huge then return '+Inf' end
  if number == -math.huge then return '-Inf' end
  local digits
  for precision = 1, 17 do
    digits = string.format('%.' .. precision .. 'g', number)
    if tonumber(digits) == number then break end
  end
  local sign, whole, fraction, exponent = string.match(digits, '^(-?)(%d+)%.?(%d*)e([-+]%d+)$')
  if not exponent then return digits end
  local point = #whole + tonumber(exponent)
  local all = whole .. fraction
  if point <= 0 then return sign .. '0.' .. string.rep('0', -point) .. all end
  if point >= #all then return sign .. all .. string.rep('0', point - #all) end
  return sign .. string.sub(all, 1, point) .. '.' .. string.sub(all, point + 1)
end

local STRIDES = { ZSCORE = 1, ZPOPMIN = 2, BZPOPMIN = 3 }

local function write_scores(name, args, reply)
  local stride = STRIDES[name]
  if name == 'ZRANGE' or name == 'ZREVRANGE' or name == 'ZRANGEBYSCORE' or name == 'ZREVRANGEBYSCORE' then
    for index = 5, #args do
      if string.upper(args[index]) == 'WITHSCORES' then stride = 2 end
    end
  end
  if not stride or not reply then return reply end
  if type(reply) == 'string' then return shortest(reply) end
  for index = stride, #reply, stride do
    if type(reply[index]) == 'string' then reply[index] = shortest(reply[index]) end
  end
  return reply
end

local function behind_maxlen(args)
  if string.upper(args[3]) ~= 'MAXLEN' or #args < 4 then return 3 end
  local position = 4
  if args[4] == '~' then position = 5 end
  if not args[position] or not string.match(args[position], '^%d+$') then return 3 end
  return position + 1
end

local function objection(name, args)
  local options = OPTIONS[name]
  if options then
    local position = options[1] + 1
    while position <= #args do
      local count = options[2][string.upper(args[position])]
      if not count then return 'ERR syntax error' end
      position = position + 1 + count
    end
    if position ~= #args + 1 then return 'ERR syntax error' end
  elseif name == 'ZADD' then
    for index = 3, #args do
      local word = string.upper(args[index])
      if word == 'CH' or word == 'INCR' then return 'ERR syntax error' end
      if not ZADD_OPTIONS[word] then break end
    end
  elseif name == 'XTRIM' then
    if behind_maxlen(args) ~= #args + 1 then return 'ERR syntax error' end
  elseif name == 'XADD' then
    local id = args[behind_maxlen(args)] or ''
    local word = string.upper(id)
    if word == 'NOMKSTREAM' or word == 'MINID' or word == 'MAXLEN' then return 'ERR syntax error' end
    if id ~= '*' and not string.match(id, '^%d+%-%d+$') then
      return 'ERR Invalid stream ID specified as stream command argument'
    end
  end
end

-- Change args, in place, to what the real store understands.
local function translate(name, args)
  if name == 'ELASTICKV.ZREMFAST' then
    args[1] = 'ZREM'
  elseif (name == 'XADD' or name == 'XTRIM') and args[4] == '~' and string.upper(args[3]) == 'MAXLEN' then
    args[4] = '='
  elseif name == 'ZADD' then
    local first = 3
    while args[first] and ZADD_OPTIONS[string.upper(args[first])] do first = first + 1 end
    for index = first, #args, 2 do
      if string.match(string.lower(args[index]), '^[-+]?nan$') then args[index] = string.format('%.17g', NAN) end
    end
  end
end

local function run(...)
  local args = { ... }
  for index = 1, select('#', ...) do
    if type(args[index]) == 'number' then args[index] = string.format('%.17g', args[index]) end
    if type(args[index]) ~= 'string' then
      return { err = 'ERR Lua redis lib command arguments must be strings or integers' }
    end
  end
  local name = string.upper(args[1] or '')
  local command = COMMANDS[name]
  if not command then return { err = "ERR unsupported command '" .. (args[1] or '') .. "'" } end
  local arity, is_write, first, last, is_harmful = unpack(command)
  if arity > 0 and #args ~= arity or #args < -arity then
    return { err = "ERR wrong number of arguments for '" .. string.lower(name) .. "' command" }
  end
  local refusal = objection(name, args)
  if refusal then return { err = refusal } end
  if is_harmful then harms = harms + 1 end
  if is_write then
    effects, elements = effects + 1, elements + #args - 2
    if most > 0 and effects > most then
      is_too_large = true
      return { err = 'invalid request' }
    end
    if first == 0 then
      for _, key in ipairs(store.call('KEYS', '*')) do remember(key) end
    else
      for index = first + 1, last > 0 and last + 1 or #args + last + 1 do remember(args[index]) end
    end
  end
  translate(name, args)
  local reply = store.pcall(unpack(args))
  if type(reply) == 'table' and reply.err then return { err = reply.err } end
  return write_scores(name, args, reply)
end

local function call(...)
  local reply = run(...)
  if type(reply) == 'table' and reply.err then error(reply, 0) end
  return reply
end

local given = {
  call = call,
  pcall = run,
  sha1hex = store.sha1hex,
  status_reply = store.status_reply,
  error_reply = store.error_reply,
}

local chunk, message = loadstring('local redis, KEYS, ARGV = ...; ' .. script, '=<string>')
if not chunk then
  return { 0, string.gsub(message, '^<string>:(%d+):', '<string> line:%1(column:1)') .. ': syntax error' }
end
local arguments = {}
for index = 3, #ARGV do arguments[index - 2] = ARGV[index] end
local is_done, reply = pcall(chunk, given, KEYS, arguments)
if is_too_large then
  roll_back()
  return { 0, 'invalid request' }
end
if not is_done then
  roll_back()
  local text = type(reply) == 'table' and reply.err or tostring(reply)
  if string.sub(text, 1, 9) ~= '<string>:' then text = '<string>:1: ' .. text end
  return { 0, text .. " stack traceback: [G]: in function 'call' <string>:1: in main chunk [G]: ?" }
end
return { 1, keys, elements, harms, reply }
