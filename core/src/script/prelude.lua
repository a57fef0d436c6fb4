-- Builds the walls that scripts run within. Run once in each Lua state, before any script.
--
-- What scripts see as a library is a front: an empty table that reads through to what stands behind it and refuses writes. So
-- are their globals. The functions that look at or change tables behind Lua's back know about fronts.

local host = ...
local G = _G

local error, type, tostring, select, assert = error, type, tostring, select, assert
local raw_next, raw_get, raw_set, raw_pcall, raw_xpcall = next, rawget, rawset, pcall, xpcall
local raw_setmetatable, raw_getmetatable = setmetatable, getmetatable
local raw_load, raw_loadstring, raw_collectgarbage = load, loadstring, collectgarbage
local raw_resume = coroutine.resume
local plain, is_over = host.plain, host.is_over

local READONLY = "Attempt to modify a readonly table"

local KEPT = {
  _VERSION = true, assert = true, bit = true, cjson = true, cmsgpack = true, collectgarbage = true, coroutine = true, error = true,
  gcinfo = true, getmetatable = true, ipairs = true, load = true, loadstring = true, math = true, next = true, os = true,
  pairs = true, pcall = true, rawequal = true, rawget = true, rawset = true, redis = true, select = true, server = true,
  setmetatable = true, string = true, struct = true, table = true, tonumber = true, tostring = true, type = true,
  unpack = true, xpcall = true,
}
for name in raw_next, G do
  if not KEPT[name] then G[name] = nil end
end
string.dump = nil

-- From a front to what stands behind it, and to the metatable that it shows.
local behind = raw_setmetatable({}, { __mode = "k" })
local shown = raw_setmetatable({}, { __mode = "k" })

local function refuse()
  error(READONLY, 2)
end

local function front(real, metatable)
  local made = raw_setmetatable({}, { __index = real, __newindex = refuse })
  behind[made] = real
  shown[made] = metatable
  return made
end

local function refuse_front(value)
  if behind[value] then error(READONLY, 0) end
end

local function expect_table(name, ...)
  local value = ...
  if type(value) ~= "table" then
    local got = select("#", ...) == 0 and "no value" or type(value)
    error("bad argument #1 to '" .. name .. "' (table expected, got " .. got .. ")", 3)
  end
end

function G.next(...)
  expect_table("next", ...)
  local value, key = ...
  return raw_next(behind[value] or value, key)
end

function G.pairs(...)
  expect_table("pairs", ...)
  local value = ...
  return raw_next, behind[value] or value, nil
end

function G.rawget(...)
  expect_table("rawget", ...)
  local value, key = ...
  return raw_get(behind[value] or value, key)
end

function G.rawset(...)
  expect_table("rawset", ...)
  local value, key, element = ...
  refuse_front(value)
  return raw_set(value, key, element)
end

function G.setmetatable(...)
  expect_table("setmetatable", ...)
  local value, metatable = ...
  if select("#", ...) < 2 or (metatable ~= nil and type(metatable) ~= "table") then
    error("bad argument #2 to 'setmetatable' (nil or table expected)", 2)
  end
  refuse_front(value)
  -- What a collector runs has no limits.
  if type(metatable) == "table" and raw_get(metatable, "__gc") ~= nil then error("__gc is not supported", 2) end
  return raw_setmetatable(value, metatable)
end

local string_metatable = raw_getmetatable("")
local string_front

function G.getmetatable(value)
  if type(value) == "string" then return string_front end
  if behind[value] then return shown[value] end
  return raw_getmetatable(value)
end

-- An error that a script catches: Redis gives the message of those that are tables.
local function caught(ok, ...)
  if ok then return true, ... end
  local err = plain((...))
  -- It has run for too long: nothing of it goes on.
  if is_over() then error(err, 0) end
  if type(err) == "table" and type(err.err) == "string" then err = err.err end
  return false, err
end

function G.pcall(...)
  return caught(raw_pcall(...))
end

function G.xpcall(run, handler)
  local function handle(err)
    if is_over() then return err end
    return handler(plain(err))
  end
  return caught(raw_xpcall(run, handle))
end

function coroutine.resume(...)
  return caught(raw_resume(...))
end

local function is_binary(chunk)
  return type(chunk) == "string" and chunk:byte(1) == 27
end

function G.loadstring(chunk, ...)
  if is_binary(chunk) then return nil, "binary chunks are not supported" end
  return raw_loadstring(chunk, ...)
end

function G.load(read, ...)
  local begun = false
  local function checked()
    local piece = read()
    if not begun and type(piece) == "string" and #piece > 0 then
      begun = true
      if is_binary(piece) then error("binary chunks are not supported", 0) end
    end
    return piece
  end
  if type(read) ~= "function" then checked = read end
  return raw_load(checked, ...)
end

-- Whether and how hard the collector works is not a script's to say.
function G.collectgarbage(what, ...)
  if what == nil or what == "collect" or what == "count" or what == "step" then
    return raw_collectgarbage(what or "collect", what == "step" and 0 or nil)
  end
  return 0
end

local insert, remove, sort = table.insert, table.remove, table.sort

function table.insert(...)
  expect_table("insert", ...)
  local count = select("#", ...)
  if count ~= 2 and count ~= 3 then error("wrong number of arguments to 'insert'", 2) end
  refuse_front((...))
  return insert(...)
end

function table.remove(...)
  expect_table("remove", ...)
  refuse_front((...))
  return remove(...)
end

function table.sort(...)
  expect_table("sort", ...)
  refuse_front((...))
  return sort(...)
end

for _, name in ipairs({ "foreach", "foreachi" }) do
  local raw = table[name]
  table[name] = function(list, visit)
    return raw(behind[list] or list, visit)
  end
end

local redis = redis

function redis.status_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then return { err = "ERR wrong number or type of arguments" } end
  return { ok = text }
end

function redis.error_reply(...)
  local text = ...
  if select("#", ...) ~= 1 or type(text) ~= "string" then return { err = "ERR wrong number or type of arguments" } end
  if text:sub(1, 1) == "-" then text = text:sub(2) end
  text = text:gsub("^[\r\n]+", ""):gsub("[\r\n]+$", "")
  if not text:find(" ", 1, true) then text = "ERR " .. text end
  return { err = text }
end

-- As `redis.call`, but an error is what it returns.
function redis.pcall(...)
  local ok, reply = raw_pcall(redis.call, ...)
  if ok then return reply end
  if is_over() then error(reply, 0) end
  return plain(reply)
end

if not host.register_function then
  function redis.replicate_commands() return true end
  function redis.breakpoint() return false end
  function redis.debug() end
end

-- Stands behind the fronts; the parts of it that change from one script to the next are `redis.call`, `KEYS` and `ARGV`.
local libraries = { "bit", "cjson", "cmsgpack", "coroutine", "math", "os", "redis", "string", "struct", "table" }
for i = 1, #libraries do
  G[libraries[i]] = front(G[libraries[i]])
end
G.server = G.redis
string_metatable.__index = G.string
string_front = front(string_metatable)

local protection = {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
}
raw_setmetatable(G, protection)
local globals_metatable = front(protection)
local globals = front(G, globals_metatable)
G._G = globals

-- What the code of a library sees while it registers its functions: less than they will.
local library_redis = { register_function = host.register_function }
local LIBRARY = { "log", "LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING", "REDIS_VERSION", "REDIS_VERSION_NUM" }
for i = 1, #LIBRARY do
  library_redis[LIBRARY[i]] = redis[LIBRARY[i]]
end
raw_setmetatable(library_redis, protection)
local library = raw_setmetatable({ redis = front(library_redis) }, protection)
library.server = library.redis

local function set_loading(is_loading)
  raw_getmetatable(globals).__index = is_loading and library or G
end

local handler = host.handler
local function run(script, ...)
  return raw_xpcall(script, handler)
end
local function run_function(script, keys, args)
  return raw_xpcall(function() return script(keys, args) end, handler)
end

return globals, run, run_function, set_loading
