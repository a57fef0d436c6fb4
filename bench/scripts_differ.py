#!/usr/bin/env python3
"""Runs the same scripts on two servers and shows where they answer differently.

    scripts_differ.py HOST:PORT HOST:PORT [-v]

The first is taken for right (redis-server), the second is Cairn. Both are emptied before and after. Replies are compared as bytes, in RESP2
and in RESP3; what is known to differ between Redis 7.0 and 7.2, and what Cairn does differently on purpose, is not asked here.
"""

import socket
import sys


class Client:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.input = b""

    def line(self):
        while b"\r\n" not in self.input:
            self.more()
        line, self.input = self.input.split(b"\r\n", 1)
        return line

    def more(self):
        received = self.socket.recv(1 << 16)
        if not received:
            raise SystemExit("the server closed the connection")
        self.input += received

    def bytes(self, count):
        while len(self.input) < count + 2:
            self.more()
        taken, self.input = self.input[:count], self.input[count + 2 :]
        return taken

    def reply(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind in b"$=":
            return kind + (rest if rest == b"-1" else b"'" + self.bytes(int(rest)) + b"'")
        if kind in b"*~>":
            return kind + b"[" + b" ".join(self.reply() for _ in range(max(int(rest), 0))) + b"]" + (b"nil" if rest == b"-1" else b"")
        if kind == b"%":
            # Maps have no order.
            return b"%{" + b" ".join(sorted(self.reply() + b"=" + self.reply() for _ in range(int(rest)))) + b"}"
        return line

    def ask(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(request)
        return self.reply()


# One script a line; `keys | args` behind `<<<` if it wants some.
SCRIPTS = r"""
return 1
return 1.9
return -1.9
return 'x'
return nil
return true
return false
return {}
return {1,2,nil,3}
return {1,'a',{2,{3}},true,false}
return {ok='fine'}
return {err='ERR bad'}
return {err='bad'}
return {ok='a\r\nb'}
return {err='A a\r\nb'}
return {double=1.5}
return {double=3}
return {double=0.25}
return {big_number='123'}
return {map={a=1}}
return {set={a=true}}
return {verbatim_string={format='txt',string='hi'}}
return {verbatim_string={format='txtx',string='hi'}}
return {1,map={a=1}}
return 1e15
return 9007199254740993
return 1e20
return -1e20
return 0/0
return 'a','b'
return function() end
return tostring(nil)
return KEYS <<< a b | c d
return ARGV <<< a b | c d
return #KEYS + #ARGV <<< a b | c d
return tostring(1/3)
return tostring(1e15)
return tostring(1e100)
return tostring(-0.0)
return 10 == '10'
return '10' + 5
return 7 % 3
return 2^53
return math.floor(3.7)
return #'abc'
return ('x'):rep(3)
return ('%d %5.2f %s %q'):format(5, 3.14159, 'a', 'b"c')
return string.format('%x', 255)
return {string.find('hello world', 'o w')}
return {string.gsub('hello', 'l', 'L')}
return {('key=val'):match('(%w+)=(%w+)')}
local t = {} for w in ('a b c'):gmatch('%a') do t[#t+1] = w end return t
local t = {3,1,2} table.sort(t) return t
local t = {3,1,2} table.sort(t, function(a, b) return a > b end) return t
local t = {1,2,3} table.remove(t, 1) table.insert(t, 9) table.insert(t, 1, 8) return t
return table.concat({1,2,3}, '-')
return table.getn({1,2,3})
return table.maxn({1,2,3})
local t = {} for k, v in pairs({a=1, b=2}) do t[#t+1] = k .. v end table.sort(t) return t
local t = {} for k, v in next, {1, 2} do t[#t+1] = v end return t
local t = {} for k, v in ipairs({5, 6}) do t[#t+1] = v end return t
return {select('#', 1, nil, 3), (select(2, 'a', 'b'))}
return {unpack({1, 2, 3}, 2)}
return {type(1), type('x'), type({}), type(nil), type(print_ or 1 and nil)}
return {tonumber('0x10'), tonumber('10', 2), tonumber('zz', 36)}
return tostring(tonumber('abc'))
return rawequal('a', 'a')
return {rawget({a=1}, 'a'), rawlen_ and 1 or 2}
local t = setmetatable({}, {__index=function(_, k) return k .. '!' end}) return t.x
local t = setmetatable({}, {__call=function(_, a) return a + 1 end}) return t(4)
local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) return b * 2 end) local _, x = coroutine.resume(co, 1) local _, y = coroutine.resume(co, 10) return {x, y, coroutine.status(co)}
local f = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) return {f(), f(), f()}
return loadstring('return 1 + 1')()
return {loadstring('return +')}
return load(function() return nil end)
local n = 0 local f = load(function() n = n + 1 return ({'return ', '42'})[n] end) return f()
return _VERSION
return {pcall(error, 'x')}
return {pcall(error, {err='x y'})}
return {pcall(function() error('x') end)}
return {pcall(function() local x = nil; return x.y end)}
return {xpcall(function() error('x') end, function(e) return 'handled ' .. e end)}
return {xpcall(function() return 1, 2 end, function(e) return e end)}
return {pcall(redis.call, 'nosuch')}
return {pcall(redis.call, 'get')}
return {pcall(cjson.decode, '{')}
error('x')
error('x', 0)
error('x', 2)
error()
error(5)
error(nil)
error({err='MY e'})
error({err='My e', ok='x'})
error(redis.error_reply('x'))
local function f() error('deep') end f()
\nerror('line two')
local x = nil; return x.y
return nosuch
return nosuch.x
nosuch = 1
return nosuch()
return 'a' + 1
return {} .. 'x'
return 1 < 'x'
return {} < {}
return #nil
foo(
return return
return 'unfinished
if true then
return redis.call()
return redis.call('nosuch')
return redis.call('get')
return redis.call('get', 'a', 'b')
return redis.call('set', 'a')
return redis.call({})
return redis.call('get', {})
return redis.call('get', true)
return redis.call('get', nil)
return redis.pcall()
return redis.pcall('nosuch')
return redis.pcall('get')
return redis.call('multi')
return redis.call('exec')
return redis.call('discard')
return redis.call('eval', 'return 1', 0)
return redis.call('script', 'flush')
return redis.call('watch', 'x')
return redis.call('auth', 'x')
return redis.call('shutdown')
return redis.call('config', 'get', 'port')
return redis.call('client', 'id')
return redis.call('debug', 'sleep', 0)
return redis.call('set', 'k', 'v')
return redis.call('get', 'k')
return redis.call('GET', 'k')
return redis.call('get', 'absent')
return redis.call('incr', 'k')
return redis.pcall('incr', 'k')
return redis.call('strlen', 'k')
return redis.call('mget', 'k', 'absent', 'k')
return redis.call('mset', 'a', 1, 'b', 2)
return redis.call('del', 'a', 'b', 'absent')
return redis.call('set', 'n', 10)
return redis.call('incrby', 'n', 5)
return redis.call('incrbyfloat', 'n', '0.5')
return redis.call('set', 'f', 3.5)
return redis.call('get', 'f')
return redis.call('append', 'k', 'x')
return redis.call('getrange', 'k', 0, 1)
return redis.call('exists', 'k', 'absent')
return redis.call('expire', 'k', 100)
return redis.call('ttl', 'k')
return redis.call('type', 'k')
return redis.call('type', 'k').ok
return redis.call('set', 'k', 'v', 'nx')
return redis.call('set', 'k', 'v', 'xx').ok
return redis.call('set', 'k', 'v', 'bad')
return redis.call('ping')
return redis.call('ping', 'hello')
return redis.call('echo', 'x')
return redis.call('select', 3)
redis.call('select', 3) redis.call('set', 'in3', 1) return redis.call('get', 'in3')
return redis.call('get', 'in3')
return redis.call('select', 99)
return redis.call('dbsize')
return redis.call('keys', 'k*')
return type(redis.call('time')[1])
return redis.call('command', 'count') > 10
return redis.call('scan', 0, 'count', 100)[1]
return redis.call('flushdb')
return redis.call('dbsize')
redis.call('set', 'w1', 1) redis.call('set', 'w2', 2) error('after')
return redis.call('mget', 'w1', 'w2')
redis.call('set', 'w3', 1) redis.call('incr', 'w3') return redis.call('lpush_', 'w3', 1)
return redis.call('get', 'w3')
redis.setresp(3) return redis.call('get', 'absent')
redis.setresp(3) return redis.call('mget', 'absent')
redis.setresp(3) return {true, false}
redis.setresp(3) return type(redis.call('get', 'absent'))
redis.setresp(2) return {true, false}
return redis.setresp(4)
return redis.setresp()
return redis.setresp(3)
return redis.sha1hex('')
return redis.sha1hex('abc')
return redis.sha1hex(12)
return redis.sha1hex()
return redis.status_reply('fine')
return redis.status_reply()
return redis.status_reply('a', 'b')
return redis.error_reply('x')
return redis.error_reply('-x')
return redis.error_reply('MY x')
return redis.error_reply('-MY x')
return redis.error_reply(1)
return redis.error_reply('x').err
return redis.log()
return redis.log(9, 'x')
return redis.log('a', 'b')
return redis.set_repl(redis.REPL_ALL)
return redis.set_repl()
return redis.set_repl(9)
return redis.replicate_commands()
return tostring(redis.breakpoint())
return redis.acl_check_cmd('get', 'x')
return redis.acl_check_cmd()
return redis.acl_check_cmd('nosuch')
return {redis.REPL_ALL, redis.REPL_AOF, redis.REPL_NONE, redis.REPL_SLAVE, redis.REPL_REPLICA}
return {redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING}
return type(redis.REDIS_VERSION) .. type(redis.REDIS_VERSION_NUM)
redis.call = 1
redis.x = 1
rawset(redis, 'x', 1)
table.insert(redis, 1)
table.insert(_G, 1)
string.x = 1
cjson.encode = 1
setmetatable(_G, {})
setmetatable(redis, {})
setmetatable(string, {})
getmetatable(_G).__index = 1
getmetatable('').__index = 1
_G.x = 1
_G = 1
rawset(_G, 'x', 1)
KEYS = 1
return tostring(getmetatable(redis))
return type(getmetatable(''))
return getmetatable(setmetatable({}, {__metatable='m'}))
return _G.string == string
return _G._G == _G
return rawget(_G, 'nosuch')
return type(rawget(_G, 'redis'))
local n = 0 for k in pairs(redis) do n = n + 1 end return n > 10
local t = {} for k in pairs(bit) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(struct) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(cmsgpack) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(cjson) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(math) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(table) do t[#t+1] = k end table.sort(t) return t
local t = {} for k in pairs(coroutine) do t[#t+1] = k end table.sort(t) return t
return type(next(redis))
pairs(nil)
pairs()
next(nil)
next()
rawget(nil)
rawset(1, 2, 3)
setmetatable(1, {})
setmetatable({}, 1)
ipairs(nil)
string.rep()
('x'):rep({})
table.insert(nil, 1)
table.concat({{}})
unpack(nil)
tostring()
select(0)
print(1)
return io
dofile('x')
require('x')
return debug
return package
loadfile('x')
getfenv(0)
return collectgarbage('count') > 0
return collectgarbage('step') ~= nil
math.randomseed(0) return {tostring(math.random()), math.random(10), math.random(3, 7), math.random(-5, 5)}
math.randomseed(-7) return {tostring(math.random()), tostring(math.random()), math.random(100)}
math.randomseed(123456789) local t = {} for i = 1, 50 do t[i] = math.random(1000) end return t
math.random(0)
math.random(5, 1)
math.random(1, 2, 3)
math.random('x')
return bit.band(0xff, 0x0f)
return bit.band(0xff, 0x0f, 0x3)
return bit.bor(1, 2, 4)
return bit.bxor(0xff, 0x0f)
return bit.bnot(0)
return bit.lshift(1, 31)
return bit.lshift(1, 32)
return bit.rshift(-1, 1)
return bit.arshift(-8, 1)
return bit.rol(0x12345678, 8)
return bit.ror(0x12345678, 8)
return bit.bswap(0x12345678)
return bit.tobit(0xffffffff)
return bit.tobit(2^32 + 5)
return bit.tobit(1.5)
return bit.tobit(2.5)
return bit.tobit(-0.5)
return bit.tobit(1e15)
return bit.tobit('0xff')
return bit.tohex(255)
return bit.tohex(255, 4)
return bit.tohex(255, -4)
return bit.tohex(-1)
return bit.tohex(255, 0)
return bit.tohex(255, 99)
bit.band()
bit.band('x')
bit.lshift(1)
bit.band({})
return cjson.encode({1, 2, 3})
return cjson.encode({})
return cjson.encode({a=1})
return cjson.encode({{}, {{}}})
return cjson.encode('a"b\\c/d\n\t\r\b\f\1\127é')
return cjson.encode(1.5)
return cjson.encode(1e15)
return cjson.encode(123456789012345)
return cjson.encode(0.1)
return cjson.encode(1/3)
return cjson.encode(-0.0)
return cjson.encode(1e300)
return cjson.encode(100000000)
return cjson.encode(12345678901)
return cjson.encode(true)
return cjson.encode(nil)
return cjson.encode(cjson.null)
return cjson.encode({cjson.null, 1})
return cjson.encode({[1]=1, [2]=2, [3]=3})
return cjson.encode({[1]=1, [5]=5})
return cjson.encode({[1]=1, [11]=11})
return cjson.encode({[1000]=1})
return cjson.encode({[1.5]=1})
return cjson.encode({[0]=1})
return cjson.encode({[-1]=1})
return cjson.encode({[true]=1})
return cjson.encode(0/0)
return cjson.encode(1/0)
return cjson.encode({f=function() end})
return cjson.encode(function() end)
return cjson.encode(coroutine.create(function() end))
return cjson.encode()
return cjson.encode(1, 2)
local t = {} t[1] = t return cjson.encode(t)
local t = {} for i = 1, 999 do t = {t} end return #cjson.encode(t)
local t = {} for i = 1, 1001 do t = {t} end return #cjson.encode(t)
local c = cjson.new() c.encode_sparse_array(true) return c.encode({[1000]=1})
local c = cjson.new() c.encode_sparse_array(true, 2, 3) return {c.encode({[1]=1,[4]=4}), c.encode({[1]=1,[20]=4})}
local c = cjson.new() return {c.encode_sparse_array(false, 0, 5)}
local c = cjson.new() c.encode_number_precision(3) return {c.encode(3.14159), c.encode(12345), c.encode(1000)}
local c = cjson.new() c.encode_invalid_numbers(true) return {c.encode(0/0), c.encode(1/0), c.encode(-1/0)}
local c = cjson.new() c.encode_invalid_numbers('null') return {c.encode(0/0), c.encode(1/0), tostring(c.encode_invalid_numbers())}
local c = cjson.new() c.encode_max_depth(2) return {pcall(c.encode, {{{}}})}
local c = cjson.new() c.decode_max_depth(2) return {pcall(c.decode, '[[[]]]')}
local c = cjson.new() c.decode_invalid_numbers(false) return {pcall(c.decode, '[0x10]')}
local c = cjson.new() c.decode_invalid_numbers(false) return {pcall(c.decode, '[+1]')}
local c = cjson.new() c.decode_invalid_numbers(false) return {pcall(c.decode, '[nan]')}
local c = cjson.new() return {pcall(c.encode_max_depth, 0)}
local c = cjson.new() return {pcall(c.encode_number_precision, 15)}
local c = cjson.new() return {pcall(c.encode_max_depth, 1, 2)}
local c = cjson.new() return {pcall(c.encode_keep_buffer, 'maybe')}
local c = cjson.new() return {tostring(c.encode_keep_buffer()), tostring(c.decode_invalid_numbers()), tostring(c.encode_max_depth()), tostring(c.decode_max_depth()), tostring(c.encode_number_precision())}
return cjson.decode('[1,2,3]')
return cjson.decode('{"a":{"b":[1,2]}}').a.b
return cjson.decode('"x\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\n\\/"')
return cjson.decode(' [ 1 , "a" , true , false ] ')
return cjson.decode('null') == cjson.null
return tostring(cjson.decode('[null]')[1])
return tostring(cjson.decode('1.5e3'))
return tostring(cjson.decode('-0'))
return tostring(cjson.decode('0x1F'))
return tostring(cjson.decode('[+5]')[1])
return tostring(cjson.decode('[inf]')[1])
return tostring(cjson.decode('[-Infinity]')[1])
return tostring(cjson.decode('1e999'))
return cjson.decode('')
return cjson.decode('x')
return cjson.decode('[')
return cjson.decode('[1')
return cjson.decode('[1,')
return cjson.decode('[1,]')
return cjson.decode('[1 2]')
return cjson.decode('{')
return cjson.decode('{1:2}')
return cjson.decode('{"a"}')
return cjson.decode('{"a":}')
return cjson.decode('{"a":1')
return cjson.decode('{"a":1,}')
return cjson.decode('{"a":1 "b"}')
return cjson.decode('"abc')
return cjson.decode('"a\\x"')
return cjson.decode('"\\u12"')
return cjson.decode('"\\ud800"')
return cjson.decode('"\\udc00"')
return cjson.decode('"\\ud800\\u0041"')
return cjson.decode('tru')
return cjson.decode('nul')
return cjson.decode('-')
return cjson.decode('[-x]')
return cjson.decode('1 2')
return cjson.decode('[1]]')
return cjson.decode('}')
return cjson.decode(',')
return cjson.decode('1.')
return cjson.decode('.5')
return cjson.decode('[1]\0')
return cjson.decode('a\0')
return cjson.decode('"a\0b"')
return cjson.decode(('['):rep(1001))
return cjson.decode(('['):rep(1000) .. (']'):rep(1000))[1] ~= nil
return cjson.decode()
return cjson.decode(1, 2)
return cjson.decode(12)
return cjson.decode({})
return cjson.encode(cjson.decode('{"a":[1,2,{"b":null}],"c":"d"}').a)
local o = cjson.decode('{"arr":[]}') return cjson.encode(o)
return cmsgpack.pack(1)
return cmsgpack.pack(127)
return cmsgpack.pack(128)
return cmsgpack.pack(255)
return cmsgpack.pack(256)
return cmsgpack.pack(65535)
return cmsgpack.pack(65536)
return cmsgpack.pack(4294967295)
return cmsgpack.pack(4294967296)
return cmsgpack.pack(2^53)
return cmsgpack.pack(2^63)
return cmsgpack.pack(-1)
return cmsgpack.pack(-32)
return cmsgpack.pack(-33)
return cmsgpack.pack(-128)
return cmsgpack.pack(-129)
return cmsgpack.pack(-32768)
return cmsgpack.pack(-32769)
return cmsgpack.pack(-2147483648)
return cmsgpack.pack(-2147483649)
return cmsgpack.pack(1.5)
return cmsgpack.pack(0.1)
return cmsgpack.pack(1/0)
return cmsgpack.pack(-0.0)
return cmsgpack.pack('a')
return cmsgpack.pack(('x'):rep(31))
return cmsgpack.pack(('x'):rep(32))
return cmsgpack.pack(('x'):rep(255))
return #cmsgpack.pack(('x'):rep(256))
return #cmsgpack.pack(('x'):rep(65536))
return cmsgpack.pack(true, false, nil)
return cmsgpack.pack({})
return cmsgpack.pack({1, 2, 3})
return cmsgpack.pack({a=1})
return cmsgpack.pack({1, 2, nil, 4})
return cmsgpack.pack({[1]=1, [3]=3})
return cmsgpack.pack({[0]=1})
local t = {} for i = 1, 16 do t[i] = i end return cmsgpack.pack(t)
local t = {} for i = 1, 70000 do t[i] = 1 end return redis.sha1hex(cmsgpack.pack(t))
local t = {} t[1] = t return cmsgpack.pack(t)
return cmsgpack.pack(function() end)
return cmsgpack.pack()
return cmsgpack.unpack(cmsgpack.pack({1, 'a', {true, false, {x='y'}.x}, 1.5}))
return {cmsgpack.unpack(cmsgpack.pack(1, 2, 'x'))}
return cmsgpack.unpack(cmsgpack.pack({a='b'})).a
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3))}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 1)}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 2)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2, 1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 0)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 5)}
return {cmsgpack.unpack_one(cmsgpack.pack(1), 5)}
return {cmsgpack.unpack_one(cmsgpack.pack(1), -1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1), -1)}
return {cmsgpack.unpack('')}
return cmsgpack.unpack('\193')
return cmsgpack.unpack('\196\1a')
return cmsgpack.unpack('\217')
return cmsgpack.unpack('\217\5abc')
return cmsgpack.unpack('\147\1\2')
return cmsgpack.unpack('\129\192\1')
return tostring(cmsgpack.unpack('\207\255\255\255\255\255\255\255\255'))
return tostring(cmsgpack.unpack('\211\255\255\255\255\255\255\255\254'))
return tostring(cmsgpack.unpack('\202\64\73\15\219'))
return {cmsgpack.unpack('\208\128\209\128\0\210\128\0\0\0')}
return {cmsgpack.unpack('\204\255\205\255\255\206\255\255\255\255')}
return cmsgpack.unpack()
return cmsgpack.unpack({})
return struct.pack('b', 5)
return struct.pack('B', 255)
return struct.pack('h', -2)
return struct.pack('>h', 258)
return struct.pack('<i4', 1)
return struct.pack('>I3', 66051)
return struct.pack('l', -1)
return struct.pack('>L', 1)
return struct.pack('T', 7)
return struct.pack('f', 1.5)
return struct.pack('>d', 1.5)
return struct.pack('s', 'abc')
return struct.pack('c2', 'abc')
return struct.pack('c0', 'abc')
return struct.pack('c5', 'abc')
return struct.pack('x')
return struct.pack('bxb', 1, 2)
return struct.pack('!4 b i4', 1, 2)
return struct.pack('!8bd', 1, 2)
return struct.pack('!bl', 1, 2)
return struct.pack('> h < h', 1, 1)
return struct.pack('i', 3.7)
return struct.pack('I', -1)
return struct.pack('i16', 1)
return struct.pack('i33', 1)
return struct.pack('!3', 1)
return struct.pack('y', 1)
return struct.pack('i')
return struct.pack('i', 'x')
return struct.pack('i99999999999', 1)
return struct.pack()
return {struct.unpack('b', '\255')}
return {struct.unpack('B', '\255')}
return {struct.unpack('>h', '\1\2')}
return {struct.unpack('<i4i4', '\1\0\0\0\2\0\0\0')}
return {struct.unpack('>I3', '\1\2\3')}
return {struct.unpack('>i3', '\255\255\254')}
return {struct.unpack('s', 'abc\0def')}
return {struct.unpack('c3', 'abcdef')}
return {struct.unpack('bc0', '\3abcdef')}
return {struct.unpack('c0', 'abc')}
return {struct.unpack('b', 'abc', 2)}
return {struct.unpack('b', 'abc', 4)}
return {struct.unpack('b', 'abc', 0)}
return {struct.unpack('b', 'abc', -1)}
return {struct.unpack('s', 'abc')}
return {struct.unpack('i', 'a')}
return tostring(struct.unpack('f', struct.pack('f', 1.1)))
return tostring(struct.unpack('>d', struct.pack('>d', 0.1)))
return {struct.unpack('!4bi4', struct.pack('!4bi4', 1, 2))}
return {struct.unpack('bc0', '\9abc')}
return {struct.unpack('y', 'abc')}
return {struct.unpack('l', struct.pack('l', -5))}
return tostring((struct.unpack('L', struct.pack('l', -5))))
return struct.size('i4')
return struct.size('bih')
return struct.size('!4bi')
return struct.size('!8bd')
return struct.size('c10xx')
return struct.size('s')
return struct.size('c0')
return struct.size('y')
return struct.size('>h!2bh')
return struct.size('')
return redis.call('set', 'k', ('x'):rep(100000)).ok
return #redis.call('get', 'k')
local n = 0 for i = 1, 1000 do n = redis.call('incr', 'loop') end return n
local ok, e = pcall(function() return redis.call('incr', 'k') end) return {tostring(ok), tostring(e)}
local e = redis.pcall('incr', 'k') return e.err
local e = redis.pcall('incr', 'k') return e['err']
return tostring(cjson.null)
return {1, cjson.null, 3}
return string.len(tostring({})) > 8
local s = 0 for i = 1, 100000 do s = s + i end return s
#!lua\nreturn 1
#!lua flags=no-writes\nreturn redis.call('get', 'absent')
#!lua flags=no-writes\nreturn redis.call('set', 'k', 1)
#!lua flags=no-writes\nreturn redis.pcall('set', 'k', 1)
#!lua flags=allow-oom,allow-stale,no-cluster\nreturn 1
#!lua flags=bad\nreturn 1
#!lua flags=\nreturn 1
#!lua name=x\nreturn 1
#!python\nreturn 1
#!lua
#!lua\n\nerror('x')
"""

COMMANDS = [
    ["EVAL"],
    ["EVAL", "return 1"],
    ["EVAL", "return 1", "x"],
    ["EVAL", "return 1", "-1"],
    ["EVAL", "return 1", "1"],
    ["EVAL", "return 1", "99999999999999999999"],
    ["EVALSHA", "x", "0"],
    ["EVAL", "return 1", "0"],
    ["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "x"],
    ["EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "0"],
    ["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"],
    ["EVALSHA", "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB", "0"],
    ["SCRIPT", "LOAD", "return 2"],
    ["SCRIPT", "LOAD", "return ("],
    ["SCRIPT", "LOAD", "#!lua flags=x\nreturn 1"],
    ["SCRIPT", "LOAD"],
    ["SCRIPT", "EXISTS", "7f923f79fe76194c868d7e1d0820de36700eb649", "x", "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB"],
    ["SCRIPT", "EXISTS"],
    ["EVALSHA", "7f923f79fe76194c868d7e1d0820de36700eb649", "0"],
    ["EVALSHA_RO", "7f923f79fe76194c868d7e1d0820de36700eb649", "0"],
    ["EVAL_RO", "return redis.call('get', KEYS[1])", "1", "absent"],
    ["EVAL_RO", "return redis.call('set', KEYS[1], 1)", "1", "absent"],
    ["EVAL_RO", "#!lua\nreturn 1", "0"],
    ["EVAL_RO", "#!lua flags=no-writes\nreturn 1", "0"],
    ["SCRIPT", "KILL"],
    ["SCRIPT", "FLUSH", "x"],
    ["SCRIPT", "FLUSH", "SYNC", "x"],
    ["SCRIPT", "FLUSH"],
    ["SCRIPT", "FLUSH", "ASYNC"],
    ["SCRIPT", "FLUSH", "sync"],
    ["EVALSHA", "7f923f79fe76194c868d7e1d0820de36700eb649", "0"],
    ["SCRIPT", "NOSUCH"],
    ["SCRIPT"],
    ["MULTI"],
    ["EVAL", "return redis.call('incr', 'm')", "1", "m"],
    ["SET", "m2", "x"],
    ["EVAL", "redis.call('set', 'm', 'y') return redis.call('incr', 'm')", "1", "m"],
    ["EVAL", "return redis.call('multi')", "0"],
    ["EXEC"],
    ["GET", "m"],
    ["COMMAND", "GETKEYS", "EVAL", "return 1", "2", "a", "b", "c"],
    ["COMMAND", "GETKEYS", "EVAL", "return 1", "0", "a"],
    ["COMMAND", "GETKEYS", "EVALSHA", "x", "1", "a"],
]

# Code of libraries, which is loaded as `l` and called as `f`.
LIBRARIES = r"""
redis.log(redis.LOG_DEBUG, 'hi') redis.register_function('f', function(k,a) return {#k, #a, k, a} end)
local x = pairs
local x = redis.call
local x = redis.sha1hex
x = 1
redis.x = 1
local x = nil + 1
return (
local a = 1
redis.register_function()
redis.register_function('f')
redis.register_function('f', 1)
redis.register_function(1, function() end)
redis.register_function({}, function() end)
redis.register_function('f-f', function() end)
redis.register_function('', function() end)
redis.register_function('f', function() end, 1)
redis.register_function('f', function() end) redis.register_function('f', function() end)
redis.register_function{}
redis.register_function{function_name=1}
redis.register_function{function_name={}}
redis.register_function{function_name='f'}
redis.register_function{callback=function() end}
redis.register_function{callback=1}
redis.register_function{x=1}
redis.register_function{[1]=1}
redis.register_function{[{}]=1}
redis.register_function{flags=1}
redis.register_function{flags={'x'}}
redis.register_function{flags={{}}}
redis.register_function{description={}}
redis.register_function{FUNCTION_NAME='f', callback=function() return 1 end, flags={'NO-WRITES', 'allow-stale'}, description=1}
redis.register_function{function_name='f', callback=function(k, a) return redis.call('set', 'x', 1) end, flags={'no-writes'}}
redis.register_function{function_name='f', callback=function(k, a) redis.register_function('g', function() end) end}
redis.register_function{function_name='f', callback=function(k, a) return KEYS end}
redis.register_function{function_name='f', callback=function(k, a) return redis.call('nosuch') end}
redis.register_function{function_name='f', callback=function(k, a) return redis.pcall('nosuch') end}
redis.register_function{function_name='f', callback=function(k, a) error('hi') end}
redis.register_function{function_name='f', callback=function(k, a) error({err='My e'}) end}
redis.register_function{function_name='f', callback=function(k, a) y = 1 end}
redis.register_function{function_name='f', callback=function(k, a) redis.setresp(3) return {true, {double=1.5}} end}
redis.register_function{function_name='f', callback=function(k, a) return redis.breakpoint end}
redis.register_function{function_name='f', callback=function(k, a) return {type(pairs), type(redis.call), type(cjson.encode)} end}
redis.register_function{function_name='f', callback=function(k, a) return redis.call('incr', k[1]) end}
redis.register_function{function_name='f', callback=function(k, a) return redis.call('eval', 'return 1', 0) end}
"""

FUNCTION_COMMANDS = [
    ["FCALL", "F", "1", "a", "b"],
    ["FCALL", "f"],
    ["FCALL", "f", "x"],
    ["FCALL", "nosuch", "x"],
    ["FCALL", "f", "-1"],
    ["FCALL", "f", "9", "a"],
    ["FUNCTION", "LIST"],
    ["FUNCTION", "LIST", "WITHCODE", "LIBRARYNAME", "L*"],
    ["FUNCTION", "LIST", "LIBRARYNAME"],
    ["FUNCTION", "LIST", "x"],
    ["FUNCTION", "LIST", "WITHCODE", "WITHCODE"],
    ["FUNCTION", "STATS"],
    ["FUNCTION", "KILL"],
    ["FUNCTION", "DELETE", "nosuch"],
    ["FUNCTION", "RESTORE", "x"],
    ["FUNCTION", "RESTORE", "x", "y"],
    ["FUNCTION", "RESTORE", "x", "y", "z"],
    ["FUNCTION", "FLUSH", "x"],
    ["FUNCTION", "FLUSH", "x", "y"],
    ["FUNCTION", "X"],
    ["FUNCTION", "LOAD"],
    ["FUNCTION", "LOAD", "REPLACE"],
    ["FUNCTION", "LOAD", "a", "b"],
    ["FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('g', function() end)"],
    ["FUNCTION", "LOAD", "#!lua name=m\nredis.register_function('f', function() end)"],
    ["FUNCTION", "LOAD", "#!lua name=m\nredis.register_function('F', function() end)"],
    *(
        ["FUNCTION", "LOAD", heading + "redis.register_function('f', function() end)"]
        for heading in ("x", "#!", "#!lua", "#!lua name=x", "#!lua\n", "#!lua name=a name=b\n", "#!lua x=1\n", "#!lua name=\n", "#!lua name=a-b\n")
        + ("#!x name=a\n", "#!\n", "#! name=a\n", "#!LUA name=a\n", "#!lua NAME=q\n", '#!lua name="q"\n', '#!lua "name=q\n')
    ),
    ["COMMAND", "GETKEYS", "FCALL", "f", "1", "a", "b"],
    ["FUNCTION", "DELETE", "l"],
    ["FCALL", "f", "0"],
    ["FUNCTION", "FLUSH", "ASYNC"],
]


def dumps(clients):
    """What each server's DUMP is to the other one: requests that failed."""
    failed = 0
    text = "#!lua name=d\n" + "-- much of the same\n" * 50 + "redis.register_function('f', function() return 'dumped' end)"
    for one, other in (clients, clients[::-1]):
        for client in clients:
            client.ask("FUNCTION", "FLUSH")
        one.ask("FUNCTION", "LOAD", text)
        payload = one.ask("FUNCTION", "DUMP")[2:-1]
        replies = [other.ask("FUNCTION", "RESTORE", payload), other.ask("FCALL", "f", "0"), other.ask("FUNCTION", "RESTORE", payload)]
        if replies != [b"+OK", b"$'dumped'", b"-ERR Library d already exists"]:
            failed += 1
            print("DUMP and RESTORE", replies)
    return failed


def main():
    clients = [Client(address) for address in sys.argv[1:3]]
    is_verbose = "-v" in sys.argv
    asked = differ = 0
    for protocol in (2, 3):
        for client in clients:
            client.ask("HELLO", protocol)
            client.ask("FLUSHALL")
            client.ask("SCRIPT", "FLUSH")
            client.ask("FUNCTION", "FLUSH")
        requests = []
        for line in SCRIPTS.strip("\n").split("\n"):
            script, _, words = line.partition(" <<< ")
            keys, _, args = words.partition(" | ")
            if script.startswith(("#!", "\\n")):
                script = script.replace("\\n", "\n")
            requests.append(["EVAL", script, len(keys.split()), *keys.split(), *args.split()])
        functions = []
        for code in LIBRARIES.strip("\n").split("\n"):
            functions.append(["FUNCTION", "LOAD", "REPLACE", "#!lua name=l\n" + code])
            functions += [["FCALL", "f", "1", "k", "a"], ["FCALL_RO", "f", "0", "a"], ["FUNCTION", "LIST"]]
        for request in requests + COMMANDS + functions + FUNCTION_COMMANDS:
            replies = [client.ask(*request) for client in clients]
            asked += 1
            if replies[0] != replies[1]:
                differ += 1
                print(f"RESP{protocol}", *request, sep=" ")
                print("   ", replies[0][:300].decode("latin-1"))
                print("   ", replies[1][:300].decode("latin-1"))
            elif is_verbose:
                print(f"RESP{protocol}", *request, replies[0][:200].decode("latin-1"), sep=" ")
        for client in clients:
            client.ask("FLUSHALL")
        differ += dumps(clients)
        asked += 6
    print(f"{asked} requests, {differ} answered differently")
    sys.exit(1 if differ else 0)


main()
