if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["meshsecurity.io/paused"] = "true"
return obj
