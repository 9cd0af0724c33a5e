// A backend service made with fhir-kit-client: it finds the token endpoint, gets a
// token by a signed assertion (private_key_jwt, RS384) and reads what it may.
import { createPrivateKey, randomUUID, sign } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { text } from "node:stream/consumers";

const entry = join(process.cwd(), "node_modules", "fhir-kit-client", "dist", "index.js");
const { Client } = await import(pathToFileURL(entry));
const { base, client, kid, key, scope, patient } = JSON.parse(await text(process.stdin));

const fhir = new Client({ baseUrl: base });
const { tokenUrl } = await fhir.smartAuthMetadata();
const part = v => Buffer.from(JSON.stringify(v)).toString("base64url");
const claims = { iss: client, sub: client, aud: tokenUrl.href, exp: Math.floor(Date.now() / 1000) + 240, jti: randomUUID() };
const unsigned = `${part({ alg: "RS384", typ: "JWT", kid })}.${part(claims)}`;
const assertion = `${unsigned}.${sign("sha384", unsigned, createPrivateKey(key)).toString("base64url")}`;

async function ask() {
  return fetch(tokenUrl, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "client_credentials", scope, client_assertion: assertion,
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }),
  });
}

const status = async promise => promise.then(() => 200, e => e.response?.status ?? e.statusCode ?? String(e));
const out = { before: await status(fhir.read({ resourceType: "Patient", id: patient })) };
const answer = await ask();
const token = await answer.json();
out.token = answer.status;
out.scope = token.scope;
out.again = (await ask()).status; // the same assertion once more
fhir.bearerToken = token.access_token;
out.read = (await fhir.read({ resourceType: "Patient", id: patient })).id;
let page = await fhir.search({ resourceType: "Observation", searchParams: { patient, _count: "10" } });
out.found = 0;
for (out.pages = 0; page && out.pages < 3; out.pages++) {
  out.found += page.entry.length;
  page = page.link.some(l => l.relation === "next") ? await fhir.nextPage({ bundle: page }) : undefined;
}
out.write = await status(fhir.create({ resourceType: "Patient", body: { resourceType: "Patient" } }));
out.other = await status(fhir.search({ resourceType: "Condition", searchParams: { patient } }));
console.log(JSON.stringify(out));
