// Drives Chromium through what a list of steps says, and prints what came of each as
// one line of JSON. The plan is the JSON of standard input: {chromium, people, steps}.
import { createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";

const { chromium } = createRequire(join(process.cwd(), "here.js"))("playwright-core");
const plan = JSON.parse(await text(process.stdin));
const shots = process.env.CANDELA_SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

function totp(secret) {
  let bits = "";
  for (const c of secret.replace(/ /g, "")) bits += "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0");
  const key = Buffer.from(bits.match(/.{8}/g).map(b => parseInt(b, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000)));
  const sum = createHmac("sha1", key).update(counter).digest();
  return String((sum.readUInt32BE(sum[19] & 15) & 0x7fffffff) % 1000000).padStart(6, "0");
}

const browser = await chromium.launch({ executablePath: plan.chromium, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
const rooms = {}; // a browser of its own for each person
const wrong = []; // what pages complained of

async function pageOf(person) {
  if (!rooms[person]) {
    const context = await browser.newContext({ viewport: { width: 900, height: 1000 } });
    context.setDefaultTimeout(20000);
    rooms[person] = await context.newPage();
    rooms[person].on("console", m => { if (m.type() === "error") wrong.push(`${m.text()} ${m.location().url}`); });
    rooms[person].on("pageerror", e => wrong.push(String(e)));
  }
  return rooms[person];
}

async function shot(page, name) {
  if (shots) await page.screenshot({ path: join(shots, name + ".png"), fullPage: true });
}

const press = (page, name) => page.getByRole("button", { name, exact: true }).click();

async function find(page, text) {
  await page.fill("#text", text);
  await press(page, "Find");
  await page.waitForURL(url => url.searchParams.get("text") === text);
}

// arrived waits until another page is there than the one that was left: one of the
// server, by its title, or the app with what it learned.
async function arrived(page) {
  for (let n = 0; n < 300; n++) {
    await new Promise(go => setTimeout(go, 100));
    // While the browser goes from page to page there is nothing to ask.
    const here = await page.evaluate(() => document.readyState === "complete" && !window.left && {
      learned: window.learned || document.getElementById("failed") && { error: document.getElementById("failed").textContent },
      title: !window.FHIR && document.querySelector("h1")?.textContent.trim(),
    }).catch(() => undefined);
    if (here && (here.title || here.learned)) return here;
  }
  throw new Error(`nothing more came at ${page.url()}`);
}

// What to do on a page of the server, by the beginning of its title.
const pages = {
  "Sign in": async (page, step) => {
    await shot(page, "login");
    await page.fill("#user", step.person);
    await page.fill("#password", plan.people[step.person].password);
    await press(page, "Sign in");
  },
  "Your second factor": async (page, step) => {
    await shot(page, "factor");
    await page.fill("#code", totp(plan.people[step.person].totp));
    await press(page, "Go on");
  },
  "Launch an app": async (page, step) => {
    if (!new URL(page.url()).searchParams.has("patient")) {
      await shot(page, "launcher");
      await find(page, step.find);
      await page.locator(`button.pick[value="${step.patient}"]`).click();
      return;
    }
    await page.selectOption("#app", "chart");
    if (step.encounter) await page.selectOption("#encounter", step.encounter);
    await shot(page, "launcher-chosen");
    await press(page, "Launch");
  },
  "Choose a patient": async (page, step) => {
    await shot(page, "picker");
    await find(page, step.find);
    await page.locator(`button.pick[value="${step.patient}"]`).click();
  },
  "Choose a visit": async (page, step) => {
    await shot(page, "visits");
    await page.locator(`button.pick[value="${step.encounter}"]`).click();
  },
  "Let ": async (page, step) => {
    await shot(page, "consent-" + step.person);
    for (const scope of step.untick || []) await page.uncheck(`input[name="scope"][value="${scope}"]`);
    await press(page, step.deny ? "Do not allow" : "Allow");
  },
};

const acts = {
  // walk goes to an address and then from page to page until the app is there.
  async walk(page, step) {
    await page.goto(step.url);
    const seen = [];
    for (let n = 0; n < 20; n++) {
      const { title, learned } = await arrived(page);
      if (learned) {
        await shot(page, "app-" + step.person);
        return { seen, ...learned };
      }
      seen.push(title);
      const name = Object.keys(pages).find(p => title.startsWith(p));
      if (!name) return { seen, error: `no way on from ${page.url()}: ${await page.textContent("main")}` };
      await page.evaluate(() => { window.left = true; });
      await pages[name](page, step);
    }
    return { seen, error: "no end" };
  },
  // refresh has the app renew its token and read again.
  async refresh(page) {
    return page.evaluate(async () => {
      const before = window.client.state.tokenResponse.access_token;
      await window.client.refresh();
      return { changed: before !== window.client.state.tokenResponse.access_token, patient: (await window.client.patient.read()).id };
    });
  },
  // call has the app ask for an address, and tells the status.
  async call(page, step) {
    return page.evaluate(async path => {
      const base = window.client.state.serverUrl, token = window.client.state.tokenResponse.access_token;
      const answer = await fetch(`${base}/${path}`, { headers: { Authorization: `Bearer ${token}` } });
      return { status: answer.status };
    }, step.path);
  },
  // end ends what an app was allowed, on the user's own page, in a window beside the app.
  async end(page, step) {
    const other = await page.context().newPage();
    await other.goto(step.url);
    await shot(other, "manage");
    const had = await other.locator("section.app").count();
    await other.getByRole("button", { name: /^End the access of/ }).first().click();
    await other.waitForSelector(".note.good");
    await shot(other, "manage-ended");
    const has = await other.locator("section.app").count();
    await other.close();
    return { had, has };
  },
};

try {
  for (const step of plan.steps) {
    const page = await pageOf(step.person);
    let got;
    try {
      got = await acts[step.do](page, step);
    } catch (e) {
      await shot(page, "failed");
      got = { error: `${e.stack || e}\nat ${page.url()}` };
    }
    console.log(JSON.stringify({ ...got, wrong: wrong.splice(0) }));
  }
} finally {
  await browser.close();
}
