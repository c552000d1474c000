// Reads the description of a scene from the page, loads the splats, draws.

import * as THREE from "three";
import { Page } from "./page.js";

const EIGHT_BITS =
  "This browser has no half-float targets: the picture is blended in 8 bits and loses faint splats.";
const NO_WEBGL = "This browser shows no WebGL 2, which this page needs.";

/** Returns the bytes of a part of the page (base64), or of a file beside it. */
async function bytesOf(moment) {
  if (moment.data) return Uint8Array.from(atob(moment.data), (c) => c.charCodeAt(0));
  const answer = await fetch(moment.url);
  if (!answer.ok) throw new Error(`${moment.url}: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function main() {
  if (!document.createElement("canvas").getContext("webgl2")) throw new Error(NO_WEBGL);
  THREE.ColorManagement.enabled = false;
  const scene = JSON.parse(document.getElementById("scene").textContent);
  const page = new Page(scene);
  window.page = page;
  page.reset();
  if (!page.stage.screen.halfFloat) page.note(EIGHT_BITS);
  let last = performance.now();
  page.stage.screen.renderer.setAnimationLoop((now) => {
    page.advance(now, Math.min(0.1, Math.max(0, now - last) / 1000));
    if (page.stage.spark.activeSplats > 0) document.body.dataset.ready ??= Math.round(now);
    last = now;
  });
  for (const moment of scene.moments) await page.stage.addMoment(await bytesOf(moment));
  document.body.dataset.loaded = Math.round(performance.now());
}

main().catch((error) => {
  document.getElementById("note").textContent = String(error.message ?? error);
  throw error;
});
