// Camera files: the JSON of key frames that the page saves and that `--trajectory_file` takes.

import * as THREE from "three";

// Poses of files have about four decimals.
const RIGID = 1e-3;
// A camera that is further away than this many diagonals of the scene's box belongs to another one.
const FARTHEST = 20;

/** Returns the text of a camera file. */
export function writeCameraFile(scene, frames) {
  const { width, height, fps } = scene;
  const lines = frames.map(({ c2w, intrinsics }) => JSON.stringify({ c2w, intrinsics }));
  const head = JSON.stringify({ width, height, fps }).slice(0, -1);
  return `${head}, "frames": [\n${lines.join(",\n")}\n]}\n`;
}

/** Returns the frames of a camera file's text; throws an error that says what is wrong with it. */
export function readCameraFile(text, scene) {
  let file;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new Error(`not JSON (${error.message})`);
  }
  if (!Array.isArray(file?.frames) || file.frames.length === 0)
    throw new Error("no list `frames`, as camera files that this page saves have");
  if (!(file.width > 0 && file.height > 0)) throw new Error("no `width` and `height` in pixels");
  file.frames.forEach((frame, number) => {
    const reason = fault(frame);
    if (reason) throw new Error(`frame ${number} has ${reason}`);
  });
  checkScene(file, scene);
  const across = scene.width / file.width;
  const down = scene.height / file.height;
  return file.frames.map(({ c2w, intrinsics: [fx, fy, cx, cy] }) => ({
    c2w,
    intrinsics: [fx * across, fy * down, cx * across, cy * down],
  }));
}

/** Throws an error for a path whose pictures or places don't fit the scene. */
function checkScene(file, scene) {
  const pixels = Math.abs((file.width / file.height) * scene.height - scene.width);
  if (pixels > 1) {
    const [there, here] = [file, scene].map(({ width, height }) => `${width}x${height}`);
    throw new Error(`a path of another scene: ${there} pixels, and this scene has ${here}`);
  }
  const [low, high] = scene.bounds.map((corner) => new THREE.Vector3(...corner));
  const reach = FARTHEST * low.distanceTo(high);
  const middle = low.add(high).multiplyScalar(0.5);
  const far = file.frames.findIndex(
    ({ c2w }) => middle.distanceTo(new THREE.Vector3(c2w[0][3], c2w[1][3], c2w[2][3])) > reach,
  );
  if (far >= 0) throw new Error(`a path of another scene: frame ${far} is far away from this one`);
}

function fault(frame) {
  if (!is4x4(frame?.c2w) || !isRigid(frame.c2w)) return "no c2w that is a rigid 4x4 pose";
  if (!isNumbers(frame.intrinsics, 4)) return "no intrinsics [fx, fy, cx, cy]";
  const [fx, fy] = frame.intrinsics;
  return fx > 0 && fy > 0 ? null : "a focal length that is not above 0";
}

function isRigid(c2w) {
  const [x, y, z] = [0, 1, 2].map((k) => new THREE.Vector3(c2w[0][k], c2w[1][k], c2w[2][k]));
  const errors = [x.length() - 1, y.length() - 1, z.length() - 1, x.dot(y), x.cross(y).dot(z) - 1];
  const last = c2w[3].map((value, k) => value - (k === 3 ? 1 : 0));
  return [...errors, ...last].every((error) => Math.abs(error) < RIGID);
}

const isNumbers = (values, length) =>
  Array.isArray(values) && values.length === length && values.every(Number.isFinite);
const is4x4 = (rows) =>
  Array.isArray(rows) && rows.length === 4 && rows.every((row) => isNumbers(row, 4));
