local annotations = obj.metadata.annotations
local paused = annotations ~= nil and annotations["meshsecurity.io/paused"] == "true"
return {
  ["pause"] = { ["disabled"] = paused },
  ["resume"] = { ["disabled"] = not paused },
}
