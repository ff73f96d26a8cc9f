-- Asks Propusk whose request this is, for haproxy.cfg beside this file:
--
--   http-request lua.propusk /auth/forward
--
-- Where Propusk allows, the variables txn.propusk_user_id, txn.propusk_user_role
-- and txn.propusk_session_id are set. Where it refuses, its refusal is sent.
-- Where it does not answer, or with anything else, nothing is set and nothing
-- sent: haproxy.cfg then answers 503.

-- What goes along of the client's: who he says that he is, and how he wants the
-- refusal. All lines of each, so that two tokens are two for Propusk too.
local passed = { "authorization", "cookie", "accept", "accept-language", "user-agent" }

-- What of a refusal reaches the client.
local returned = { "www-authenticate", "content-type", "content-language", "retry-after", "cache-control", "vary" }

-- HAProxy counts the values of a header from 0.
local function values(headers, name)
    local list, found = {}, headers[name]
    local i = 0
    while found and found[i] do
        list[#list + 1] = found[i]
        i = i + 1
    end
    return list
end

local function ask(txn, path)
    local sent = txn.http:req_get_headers()
    local headers = {
        ["x-forwarded-for"] = { txn.f:src() }, -- --trusted-proxies of Propusk names this machine
        ["x-forwarded-method"] = { txn.f:method() }, -- for the reader of a log: decides nothing
        ["x-forwarded-uri"] = { txn.f:pathq() },
    }
    for _, name in ipairs(passed) do
        local list = values(sent, name)
        if #list > 0 then
            headers[name] = list
        end
    end
    return core.httpclient():get({
        url = "http://127.0.0.1" .. path,
        dst = "abns@propusk-check",
        headers = headers,
        timeout = 5000,
    })
end

local function propusk(txn, path)
    local answer = ask(txn, path)
    if not answer or not answer.status or not answer.headers then
        return
    end
    if answer.status == 200 then
        for variable, header in pairs({
            propusk_user_id = "x-user-id",
            propusk_user_role = "x-user-role",
            propusk_session_id = "x-session-id",
        }) do
            local list = values(answer.headers, header)
            if #list == 1 and list[1] ~= "" then
                txn:set_var("txn." .. variable, list[1])
            end
        end
        return
    end
    -- A 503 of Propusk says when to come back; that of HAProxy, for a Propusk
    -- that is not there, does not.
    local cannot = answer.status == 503 and answer.headers["retry-after"]
    if answer.status ~= 401 and answer.status ~= 403 and not cannot then
        return
    end
    local headers = {}
    for _, name in ipairs(returned) do
        local list = values(answer.headers, name)
        if #list > 0 then
            headers[name] = list
        end
    end
    txn:done(txn:reply({ status = answer.status, headers = headers, body = answer.body or "" }))
end

core.register_action("propusk", { "http-req" }, propusk, 1)
