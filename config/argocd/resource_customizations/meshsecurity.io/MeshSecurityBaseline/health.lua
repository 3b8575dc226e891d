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
  return { status = "Suspended", message = "paused: nothing is written in the namespaces that it selects" }
end
if is("Stalled", "True") then
  return said("Degraded", conditions["Stalled"])
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

-- That the baseline applies does not say that its namespaces are as it wants them.
local hs = said("Healthy", ready)
local compliant = conditions["Compliant"]
if compliant ~= nil and compliant.status ~= "True" then
  hs.message = hs.message .. "; Compliant is " .. compliant.status .. " (" .. compliant.reason .. ")"
end
return hs
