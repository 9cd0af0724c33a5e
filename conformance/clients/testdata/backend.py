"""A backend service made with PyPI's fhirclient: it learns from the server's description
where tokens are had, gets one by a signed assertion, and reads what it may."""
import json
import sys

import requests
from fhirclient import client
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRPermissionDeniedException, FHIRUnauthorizedException

plan = json.load(sys.stdin)
smart = client.FHIRClient(settings={
    "app_id": plan["client"], "api_base": plan["base"], "scope": plan["scope"], "jwt_token": plan["assertion"],
})
smart.wants_patient = False
out = {"ready": smart.prepare(), "auth": smart.server.auth.auth_type}
try:
    Patient.read(plan["patient"], smart.server)
    out["before"] = 200
except FHIRUnauthorizedException:
    out["before"] = 401
smart.authorize()
out["scope"] = smart.launch_context["scope"]
out["readyNow"] = smart.ready
out["read"] = Patient.read(plan["patient"], smart.server).id
found = Observation.where({"patient": plan["patient"], "_count": "10"}).perform_resources(smart.server)
out["found"] = len(found)
out["strangers"] = sum(1 for one in found if one.subject.reference != "Patient/" + plan["patient"])
try:
    Patient().create(smart.server)
    out["write"] = 200
except FHIRPermissionDeniedException:
    out["write"] = 403
except requests.HTTPError as e:
    out["write"] = e.response.status_code
print(json.dumps(out))
