"""What Redis does for the ledger: Lua, each script atomic.

A script that fails half-way keeps what it has written, so each one reads and judges first. Every
key it touches is passed to it, and those of a tenant share a hash tag, as Redis Cluster demands
(https://redis.io/docs/latest/develop/programmability/eval-intro/). Lua has doubles, exact up to
2**53; ``cjson.encode`` keeps 14 digits of them, so numbers are written by ``%.0f``.

ARGV[1] is the time in microseconds or empty for the server's own, ARGV[2] the latest that the
caller has heard of: the time does not run back by less than five minutes. The first item of
each answer is the time.
"""

from typing import Final

_CLOCK: Final = """
local function clock()
    if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
    local time = redis.call('TIME')
    local now, seen = tonumber(time[1]) * 1000000 + tonumber(time[2]), tonumber(ARGV[2])
    if seen > now and seen - now <= 300000000 then return seen end
    return now
end
local function text(number) return string.format('%.0f', number) end
local function live(key, now, ends)
    redis.call('PEXPIRE', key, text(math.max(1, math.ceil((ends - now) / 1000))))
end
local now = clock()
"""

_SUMS: Final = """
local LARGEST = 9007199254740991
local function within(number) return math.min(math.max(number, 0), LARGEST) end
local function sums(packed)
    local spent, reserved, unit, upper, ends = string.match(packed or '0:0:::',
        '^(%d+):(%d+):(%a*):(%d*):(%d*)$')
    return {spent=tonumber(spent), reserved=tonumber(reserved), unit=unit, upper=upper, ends=ends}
end
local function packed(node)
    return table.concat({text(node.spent), text(node.reserved), node.unit, node.upper, node.ends},
        ':')
end
local function level(packed)
    local held, at = string.match(packed or '0:0', '^(%d+):(%d+)$')
    return math.max(0, tonumber(held) - math.max(0, now - tonumber(at)) * 1000)
end
local function put_pace(paces, forget, key, held)
    redis.call('HSET', paces, key, text(held) .. ':' .. text(now))
    redis.call('ZADD', forget, text(now + math.ceil(held / 1000)), 'p:' .. key)
end
"""

ADMIT: Final = (
    _CLOCK
    + _SUMS
    + """
-- KEYS: call, nodes, paces, open, forget. ARGV[3]: what is asked, JSON
local call, nodes, paces, open, forget = unpack(KEYS)
local asked = cjson.decode(ARGV[3])
local known = redis.call('HMGET', call, 'state', 'ends')
local state = known[1]
if state and state ~= 'open' and tonumber(known[2]) <= now then state = false end
local fits = true
local found, held = {}, {}
for i, node in ipairs(asked.nodes) do
    found[i] = sums(redis.call('HGET', nodes, node.key))
    local sum = found[i].spent + found[i].reserved + asked.amounts[node.unit]
    if node.upper ~= '' and (node.upper == '0' or sum > tonumber(node.upper)) then fits = false end
end
for i, pace in ipairs(asked.paces) do
    held[i] = level(redis.call('HGET', paces, pace.key))
    local amount = asked.amounts[pace.unit]
    if amount > pace.burst or (amount > 0
        and held[i] + (amount - pace.burst) * pace.emission_ns > 0) then fits = false end
end
if fits and not state then
    for i, node in ipairs(asked.nodes) do
        found[i].reserved = within(found[i].reserved + asked.amounts[node.unit])
        found[i].unit, found[i].upper, found[i].ends = node.unit, node.upper, node.ends
        redis.call('HSET', nodes, node.key, packed(found[i]))
        redis.call('ZADD', forget, node.forget, 'n:' .. node.key)
    end
    for i, pace in ipairs(asked.paces) do
        held[i] = within(held[i] + asked.amounts[pace.unit] * pace.emission_ns)
        put_pace(paces, forget, pace.key, held[i])
    end
    local ends = text(now + asked.lease)
    redis.call('DEL', call)
    redis.call('HSET', call, 'state', 'open', 'owner', asked.owner, 'strict', asked.strict,
        'nodes', asked.kept_nodes, 'paces', asked.kept_paces)
    for unit, amount in pairs(asked.amounts) do
        redis.call('HSET', call, 'amount:' .. unit, text(amount), 'charged:' .. unit, '0')
    end
    redis.call('ZADD', open, ends, asked.id)
end
local answer = {text(now), (state and 'known') or (fits and 'admitted') or 'denied', state or ''}
for _, node in ipairs(found) do
    answer[#answer + 1] = text(node.spent)
    answer[#answer + 1] = text(node.reserved)
end
for _, each in ipairs(held) do answer[#answer + 1] = text(each) end
return answer
"""
)

SETTLE: Final = (
    _CLOCK
    + _SUMS
    + """
-- KEYS: nodes, paces, open, forget, then the calls. ARGV[3]: the settlements, JSON; ARGV[4]: how
-- many old entries to forget; ARGV[5], ARGV[6]: how long ends are kept, microseconds
local nodes, paces, open, forget = unpack(KEYS)
local AS = {settle='settled', release='released', expire_charge='expired_charged',
    expire_release='expired_released'}
local KEPT = {settled=ARGV[5], released=ARGV[5], expired_charged=ARGV[6],
    expired_released=ARGV[6]}
local function parts(call)
    local values, found = redis.call('HGETALL', call), {}
    for i = 1, #values, 2 do found[values[i]] = values[i + 1] end
    return found
end
local function answer_of(state, first, charged)
    local answer = {state, first}
    for unit, amount in pairs(charged) do
        answer[#answer + 1] = unit
        answer[#answer + 1] = text(amount)
    end
    return answer
end
local function finish(key, id, state, charged)
    local ends = now + tonumber(KEPT[state])
    redis.call('HSET', key, 'state', state, 'ends', text(ends))
    for unit, amount in pairs(charged) do
        redis.call('HSET', key, 'charged:' .. unit, text(amount))
    end
    redis.call('ZREM', open, id)
    live(key, now, ends)
    return answer_of(state, '1', charged)
end
local function settle(key, asked)
    local call = parts(key)
    local state = call.state
    if state and state ~= 'open' and tonumber(call.ends) <= now then
        redis.call('DEL', key)
        call, state = {}, nil
    end
    if not state then
        if asked.kind == 'release' then return finish(key, asked.id, 'released', {}) end
        return answer_of('unknown', '0', {})
    end
    local reserved, charged, new = {}, {}, {}
    for _, unit in ipairs({'usd', 'tokens', 'calls'}) do
        if call['amount:' .. unit] then
            reserved[unit] = tonumber(call['amount:' .. unit])
            charged[unit] = tonumber(call['charged:' .. unit])
            if asked.kind == 'settle' then new[unit] = asked.amounts[unit] or reserved[unit]
            elseif asked.kind == 'expire_charge' then new[unit] = reserved[unit]
            else new[unit] = 0 end
        end
    end
    local expires = asked.kind == 'expire_charge' or asked.kind == 'expire_release'
    if state == 'settled' or state == 'released' or (state ~= 'open' and expires) then
        return answer_of(state, '0', charged)
    end
    for _, kept in ipairs(cjson.decode(call.nodes)) do
        local node = sums(redis.call('HGET', nodes, kept[1]))
        if node.unit == '' then
            node.unit, node.ends = kept[2], kept[3]
            redis.call('ZADD', forget, kept[4], 'n:' .. kept[1])
        end
        if state == 'open' then node.reserved = within(node.reserved - reserved[kept[2]]) end
        node.spent = within(node.spent + new[kept[2]] - charged[kept[2]])
        redis.call('HSET', nodes, kept[1], packed(node))
    end
    for _, pace in ipairs(cjson.decode(call.paces)) do
        local taken = state == 'open' and reserved[pace[2]] or charged[pace[2]]
        local difference = new[pace[2]] - taken
        if difference ~= 0 then
            local held = level(redis.call('HGET', paces, pace[1])) + difference * pace[3]
            put_pace(paces, forget, pace[1], within(held))
        end
    end
    return finish(key, asked.id, AS[asked.kind], new)
end
local answers = {text(now)}
for i, asked in ipairs(cjson.decode(ARGV[3])) do
    answers[#answers + 1] = settle(KEYS[4 + i], asked)
end
for _, old in ipairs(redis.call('ZRANGEBYSCORE', forget, '-inf', text(now), 'LIMIT', 0, ARGV[4])) do
    redis.call('HDEL', string.sub(old, 1, 1) == 'n' and nodes or paces, string.sub(old, 3))
    redis.call('ZREM', forget, old)
end
return answers
"""
)

EXTEND: Final = (
    _CLOCK
    + """
-- KEYS: open. ARGV[3]: how long, microseconds; then the calls
for i = 4, #ARGV do
    local ends = redis.call('ZSCORE', KEYS[1], ARGV[i])
    if ends and tonumber(ends) < now + tonumber(ARGV[3]) then
        redis.call('ZADD', KEYS[1], text(now + tonumber(ARGV[3])), ARGV[i])
    end
end
return {text(now)}
"""
)

RAISE: Final = (
    _CLOCK
    + _SUMS
    + """
-- KEYS: nodes, forget. ARGV[3..8]: key, spent, unit, limit, end, when to forget
local node = sums(redis.call('HGET', KEYS[1], ARGV[3]))
if node.unit == '' then node.unit, node.upper, node.ends = ARGV[5], ARGV[6], ARGV[7] end
node.spent = math.max(node.spent, tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], ARGV[3], packed(node))
redis.call('ZADD', KEYS[2], ARGV[8], 'n:' .. ARGV[3])
return {text(now)}
"""
)

ONCE: Final = (
    _CLOCK
    + """
-- KEYS: mark. ARGV[3]: its end, empty for ever
local ends = redis.call('GET', KEYS[1])
if ends and (ends == '' or tonumber(ends) > now) then return {text(now), '0'} end
redis.call('SET', KEYS[1], ARGV[3])
if ARGV[3] ~= '' then live(KEYS[1], now, tonumber(ARGV[3])) end
return {text(now), '1'}
"""
)

BUMP: Final = (
    _CLOCK
    + """
-- KEYS: counter. ARGV[3]: by how much; ARGV[4]: window, microseconds
local window = tonumber(ARGV[4])
local began = text(now - now % window)
local had = redis.call('HMGET', KEYS[1], 'began', 'window', 'count')
local count = tonumber(ARGV[3])
if had[1] == began and had[2] == ARGV[4] then
    count = math.min(count + tonumber(had[3]), 9007199254740991)
end
redis.call('HSET', KEYS[1], 'began', began, 'window', ARGV[4], 'count', text(count))
live(KEYS[1], now, tonumber(began) + window)
return {text(now), text(count)}
"""
)

_HOLDS: Final = """
local function active(hold)
    local ends = hold and string.match(hold, '^%d+:(%d*):')
    return ends and (ends == '' or tonumber(ends) > now)
end
"""

HOLD: Final = (
    _CLOCK
    + _HOLDS
    + """
-- KEYS: holds. ARGV[3..6]: key, end (empty for none), reason, how many there may be
local hold = redis.call('HGET', KEYS[1], ARGV[3])
local since = active(hold) and string.match(hold, '^(%d+):') or text(now)
if not hold and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) then
    local all = redis.call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do
        if not active(all[i + 1]) then redis.call('HDEL', KEYS[1], all[i]) end
    end
    if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) then return {text(now), '0'} end
end
redis.call('HSET', KEYS[1], ARGV[3], since .. ':' .. ARGV[4] .. ':' .. ARGV[5])
return {text(now), '1'}
"""
)

RELEASE: Final = (
    _CLOCK
    + _HOLDS
    + """
-- KEYS: holds. ARGV[3]: key
local hold = redis.call('HGET', KEYS[1], ARGV[3])
redis.call('HDEL', KEYS[1], ARGV[3])
return {text(now), active(hold) and '1' or '0'}
"""
)

HELD: Final = (
    _CLOCK
    + _HOLDS
    + """
-- KEYS: holds. ARGV[3..]: keys, none for all
local answer = {text(now)}
local function tell(key, hold)
    if active(hold) then
        answer[#answer + 1] = key
        answer[#answer + 1] = hold
    end
end
if #ARGV == 2 then
    local all = redis.call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do tell(all[i], all[i + 1]) end
end
for i = 3, #ARGV do tell(ARGV[i], redis.call('HGET', KEYS[1], ARGV[i])) end
return answer
"""
)

OPEN: Final = (
    _CLOCK
    + """
-- KEYS: open. ARGV[3]: 'expired' or 'all'; ARGV[4]: how many at most
local most = ARGV[3] == 'expired' and text(now) or '+inf'
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', most, 'WITHSCORES', 'LIMIT', 0, ARGV[4])
table.insert(found, 1, text(now))
return found
"""
)

CURRENT: Final = (
    _CLOCK
    + """
-- KEYS: nodes, forget. ARGV[3]: how long nodes are kept, microseconds; ARGV[4]: how many at most
local answer = {text(now)}
local after = '(' .. text(now + tonumber(ARGV[3]))
for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], after, '+inf', 'LIMIT', 0, ARGV[4])) do
    if string.sub(each, 1, 2) == 'n:' then
        local key = string.sub(each, 3)
        local sums = redis.call('HGET', KEYS[1], key)
        if sums then
            answer[#answer + 1] = key
            answer[#answer + 1] = sums
        end
    end
end
return answer
"""
)

BEGIN_DEFERRED: Final = (
    _CLOCK
    + """
-- KEYS: notes, ages, taken. ARGV[3]: name; ARGV[4]: note; ARGV[5]: how many at most; ARGV[6]: how
-- long they are kept, microseconds. One that was taken is not begun again: this may come late.
local notes, ages = KEYS[1], KEYS[2]
local was = redis.call('ZSCORE', KEYS[3], ARGV[3])
if not was and redis.call('HSETNX', notes, ARGV[3], ARGV[4]) == 1 then
    redis.call('ZADD', ages, text(now), ARGV[3])
end
local function forget(names)
    for _, name in ipairs(names) do
        redis.call('HDEL', notes, name)
        redis.call('ZREM', ages, name)
    end
end
local before = text(now - tonumber(ARGV[6]))
forget(redis.call('ZRANGEBYSCORE', ages, '-inf', before, 'LIMIT', 0, 100))
local beyond = redis.call('ZCARD', ages) - tonumber(ARGV[5])
if beyond > 0 then forget(redis.call('ZRANGE', ages, 0, math.min(beyond, 100) - 1)) end
return {text(now)}
"""
)

TAKEN: Final = "taken"
"""What is said of a note that was taken before."""

TAKE_DEFERRED: Final = (
    _CLOCK
    + f"local TAKEN = '{TAKEN}'"
    + """
-- KEYS: notes, ages, taken. ARGV[3]: name; ARGV[4]: 1 if it is taken, whether it is noted here or
-- not; ARGV[5] and ARGV[6]: of those that are taken, as above
local notes, ages, taken, name = KEYS[1], KEYS[2], KEYS[3], ARGV[3]
if redis.call('ZSCORE', taken, name) then return {text(now), TAKEN} end
local note = redis.call('HGET', notes, name)
if note then
    redis.call('HDEL', notes, name)
    redis.call('ZREM', ages, name)
end
if note or ARGV[4] == '1' then
    redis.call('ZADD', taken, text(now), name)
    redis.call('ZREMRANGEBYSCORE', taken, '-inf', text(now - tonumber(ARGV[6])))
    redis.call('ZREMRANGEBYRANK', taken, 0, -1 - tonumber(ARGV[5]))
end
return {text(now), note or ''}
"""
)
