if obj.metadata.annotations ~= nil then
  obj.metadata.annotations["meshsecurity.io/paused"] = nil
end
return obj
