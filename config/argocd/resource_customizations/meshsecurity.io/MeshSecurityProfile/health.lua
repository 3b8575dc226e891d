-- The order matters: what was not looked at says nothing, and what a person has
-- to act upon comes before what is on its way.
local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end
local function is(kind, status)
  return conditions[kind] ~= nil and conditions[kind].status == status
end
local function said(status, condition)
  return { status = status, message = condition.reason .. ": " .. condition.message }
end

local ready = conditions["Ready"]
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "the operator has not looked at this generation yet" }
end
local annotations = obj.metadata.annotations
if (ready ~= nil and ready.reason == "Paused") or (annotations ~= nil and annotations["meshsecurity.io/paused"] == "true") then
  return { status = "Suspended", message = "paused: nothing is written, and changes by others are not undone" }
end
if is("Stalled", "True") then
  return said("Degraded", conditions["Stalled"])
end
if is("InSync", "False") then
  return said("Degraded", conditions["InSync"])
end
if is("Reconciling", "True") then
  return said("Progressing", conditions["Reconciling"])
end
if ready == nil then
  return { status = "Progressing", message = "the operator has not said yet whether it is ready" }
end
if ready.status ~= "True" then
  return said("Progressing", ready)
end

-- Ready says that what is declared is in the cluster, and not that all of it
-- holds: where it does not, the heart is green and the message says so.
local hs = said("Healthy", ready)
for _, kind in ipairs({ "MutualTLSEnforced", "AuthorizationEnforced", "EgressEnforced", "Compliant" }) do
  local condition = conditions[kind]
  if condition ~= nil and condition.status ~= "True" and condition.reason ~= "NotDeclared" then
    hs.message = hs.message .. "; " .. kind .. " is " .. condition.status .. " (" .. condition.reason .. ")"
  end
end
return hs
