-- Makes what scripts find. Takes the native functions, returns the table of the globals and the sealed one that scripts see.
local native = ...
local raw_pcall, raw_xpcall, raw_error, raw_rawset = pcall, xpcall, error, rawset
local raw_type, setmetatable = type, setmetatable

local is_sealed = setmetatable({}, {__mode = 'k'})

local function refuse()
  raw_error('Attempt to modify a readonly table', 2)
end

local function sealed(content)
  local seal = setmetatable({}, {__index = content, __newindex = refuse, __metatable = false})
  is_sealed[seal] = true
  return seal
end

-- Redis hands scripts the text of an error instead of its table.
local function settle(ok, failure, ...)
  if not ok and raw_type(failure) == 'table' and raw_type(failure.err) == 'string' then
    return false, failure.err
  end
  return ok, failure, ...
end

local redis = {
  LOG_DEBUG = 0,
  LOG_VERBOSE = 1,
  LOG_NOTICE = 2,
  LOG_WARNING = 3,
  log = function() end,
  sha1hex = native.sha1hex,
}

function redis.call(...)
  local reply, failed = native.command(...)
  if failed then raw_error(reply, 0) end
  return reply
end

function redis.pcall(...)
  return (native.command(...))
end

function redis.status_reply(...)
  if select('#', ...) ~= 1 or raw_type(...) ~= 'string' then return {err = 'ERR wrong number or type of arguments'} end
  return {ok = (...)}
end

function redis.error_reply(...)
  if select('#', ...) ~= 1 or raw_type(...) ~= 'string' then return {err = 'ERR wrong number or type of arguments'} end
  local code, text = string.match((...), '^%-?(%S*) (.*)$')
  if not code then code, text = 'ERR', string.match((...), '^%-?(.*)$') end
  text = string.gsub(string.gsub(text, '^[\r\n]+', ''), '[\r\n]+$', '')
  return {err = code .. ' ' .. text}
end

local cjson = {null = native.null}

function cjson.encode(...)
  if select('#', ...) ~= 1 then raw_error("bad argument #1 to 'encode' (expected 1 argument)", 2) end
  local text, failed = native.encode((...))
  if failed then raw_error(text, 2) end
  return text
end

function cjson.decode(...)
  if select('#', ...) ~= 1 then raw_error("bad argument #1 to 'decode' (expected 1 argument)", 2) end
  local text = (...)
  if raw_type(text) == 'number' then text = tostring(text) end
  if raw_type(text) ~= 'string' then
    raw_error("bad argument #1 to 'decode' (string expected, got " .. raw_type(text) .. ')', 2)
  end
  local value, failed = native.decode(text)
  if failed then raw_error(value, 2) end
  return value
end

math.random, math.randomseed = nil, nil

local globals = {
  KEYS = {},
  ARGV = {},
  _VERSION = _VERSION,
  assert = assert,
  error = error,
  getmetatable = getmetatable,
  ipairs = ipairs,
  next = next,
  pairs = pairs,
  rawequal = rawequal,
  rawget = rawget,
  select = select,
  setmetatable = setmetatable,
  tonumber = tonumber,
  tostring = tostring,
  type = type,
  unpack = unpack,
  xpcall = raw_xpcall,
  pcall = function(...) return settle(raw_pcall(...)) end,
  rawset = function(target, key, value)
    if is_sealed[target] then refuse() end
    return raw_rawset(target, key, value)
  end,
  cjson = sealed(cjson),
  math = sealed(math),
  redis = sealed(redis),
  string = sealed(string),
  table = sealed(table),
}
setmetatable(globals, {
  __index = function(_, name)
    raw_error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
})
local environment = sealed(globals)
globals._G = environment
return globals, environment
