// Cameras: OpenCV poses and pixels, as in camera files, to three's cameras and back.
//
// A frame is `{c2w, intrinsics}`; its intrinsics [fx, fy, cx, cy] are pixels of the scene's pictures.
// A size is `{width, height}`.

import * as THREE from "three";

const NO_MARGINS = { left: 0, top: 0, right: 0, bottom: 0 };
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

/** Sets the pose of a camera. */
export function setPose(camera, c2w) {
  matrixOf(c2w).decompose(camera.position, camera.quaternion, camera.scale);
  camera.updateMatrixWorld(true);
}

/** Returns the largest box with the aspect of `picture` in the middle of `view`, and its scale. */
export function boxIn(view, picture, margins = NO_MARGINS) {
  const across = view.width - margins.left - margins.right;
  const down = view.height - margins.top - margins.bottom;
  const scale = Math.max(1e-3, Math.min(across / picture.width, down / picture.height));
  const [width, height] = [picture.width * scale, picture.height * scale];
  const left = margins.left + (across - width) / 2;
  return { left, top: margins.top + (down - height) / 2, width, height, scale };
}

/** Sets the projection of a camera: the lens's picture fills `box`, and more is seen around it. */
export function setLens(camera, lens, box, view) {
  const [fx, fy, cx, cy] = lens.map((value) => value * box.scale);
  const { width, height } = view;
  camera.fov = THREE.MathUtils.radToDeg(2 * Math.atan(height / 2 / fy));
  camera.aspect = width / fx / (height / fy);
  const shift = [width / 2 - box.left - cx, height / 2 - box.top - cy];
  camera.setViewOffset(width, height, ...shift, width, height);
  camera.updateProjectionMatrix();
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
