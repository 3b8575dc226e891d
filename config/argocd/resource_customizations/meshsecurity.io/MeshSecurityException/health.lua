-- An exception that has ended, or that covers nothing, is Healthy: it is as its
-- author wrote it, and time alone must not make an application fail to sync. The
-- message says what it is.
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

local active = conditions["Active"]
if obj.status == nil or active == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "the operator has not looked at this generation yet" }
end
if is("Stalled", "True") then
  return said("Degraded", conditions["Stalled"])
end
if is("Reconciling", "True") then
  return said("Progressing", conditions["Reconciling"])
end
return said("Healthy", active)
