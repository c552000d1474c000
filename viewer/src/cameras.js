// Cameras: OpenCV poses and pixels, as in camera files, to three's cameras and back.

import * as THREE from "three";

const FLIP = new THREE.Matrix4().makeScale(1, -1, -1);

/** Returns three's matrix (y up, z backwards) of an OpenCV camera-to-world pose. */
export function matrixOf(c2w) {
  return new THREE.Matrix4().set(...c2w.flat()).multiply(FLIP);
}

/** Returns the OpenCV camera-to-world pose of a matrix of three. */
export function poseOf(matrix) {
  const e = matrix.clone().multiply(FLIP).elements;
  return [0, 1, 2, 3].map((row) => [0, 4, 8, 12].map((column) => e[column + row]));
}

/** Sets a camera to pose and intrinsics of a frame with `width` x `height` pixels. */
export function applyFrame(camera, frame, width, height) {
  matrixOf(frame.c2w).decompose(camera.position, camera.quaternion, camera.scale);
  const [fx, fy, cx, cy] = frame.intrinsics;
  camera.fov = THREE.MathUtils.radToDeg(2 * Math.atan(height / 2 / fy));
  camera.aspect = width / fx / (height / fy);
  camera.setViewOffset(width, height, width / 2 - cx, height / 2 - cy, width, height);
  camera.updateProjectionMatrix();
}

/** Returns pose and intrinsics of a camera as a frame with `width` x `height` pixels. */
export function frameOf(camera, width, height) {
  camera.updateMatrixWorld(true);
  const focal = height / 2 / Math.tan(THREE.MathUtils.degToRad(camera.fov) / 2);
  return {
    c2w: poseOf(camera.matrixWorld),
    intrinsics: [focal, focal, width / 2, height / 2],
  };
}

/** Returns `count` frames on a smooth path through key frames: Catmull-Rom places, slerped turns. */
export function interpolate(keys, count) {
  if (keys.length < 2) return keys.slice();
  const matrices = keys.map((key) => matrixOf(key.c2w));
  const places = matrices.map((matrix) => new THREE.Vector3().setFromMatrixPosition(matrix));
  const turns = matrices.map((matrix) => new THREE.Quaternion().setFromRotationMatrix(matrix));
  const curve = new THREE.CatmullRomCurve3(places);
  const one = new THREE.Vector3(1, 1, 1);
  return Array.from({ length: count }, (_, number) => {
    const share = number / (count - 1);
    const at = share * (keys.length - 1);
    const first = Math.min(Math.floor(at), keys.length - 2);
    const mix = at - first;
    const turn = turns[first].clone().slerp(turns[first + 1], mix);
    const next = keys[first + 1].intrinsics;
    return {
      c2w: poseOf(new THREE.Matrix4().compose(curve.getPoint(share), turn, one)),
      intrinsics: keys[first].intrinsics.map((value, k) => value + (next[k] - value) * mix),
    };
  });
}

/** Returns the frames of a camera file's text; throws an error that says what is wrong with it. */
export function readCameraFile(text, width, height) {
  let file;
  try {
    file = JSON.parse(text);
  } catch (error) {
    throw new Error(`not JSON (${error.message})`);
  }
  if (!Array.isArray(file?.frames) || file.frames.length === 0)
    throw new Error("no list `frames` as in a camera file");
  const bad = file.frames.findIndex(
    ({ c2w, intrinsics }) => !isFinite4x4(c2w) || !isFiniteList(intrinsics, 4),
  );
  if (bad >= 0) throw new Error(`frame ${bad} has no 4x4 c2w or no 4 intrinsics`);
  if (file.width * height !== file.height * width)
    throw new Error(`${file.width}x${file.height} pixels, and this scene has ${width}x${height}`);
  const scale = width / file.width;
  return file.frames.map(({ c2w, intrinsics }) => ({
    c2w,
    intrinsics: intrinsics.map((value) => value * scale),
  }));
}

const isFiniteList = (values, length) =>
  Array.isArray(values) && values.length === length && values.every(Number.isFinite);
const isFinite4x4 = (rows) =>
  Array.isArray(rows) && rows.length === 4 && rows.every((row) => isFiniteList(row, 4));
