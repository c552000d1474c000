// Frustums: cameras as pyramids, with a picture on those that have one.

import * as THREE from "three";
import { matrixOf } from "./cameras.js";

const COLORS = [0xd62728, 0x1f77b4, 0x2ca02c, 0xff7f0e, 0x9467bd, 0x8c564b];
const KEY_COLOR = 0x111111;
const SIZE = 0.05;
// Frames of a path from one frustum to the next; first, middle and last frame have a picture.
const EVERY = 4;
// A frustum that is nearer than this would cover the scene.
const NEAREST = 0.3;

/** Returns a group of frustums of the input's paths; `onLoaded` is called for each picture. */
export function makeFrustums(scene, onLoaded) {
  const group = new THREE.Group();
  scene.trajectories.forEach(({ frames }, number) => {
    const pictured = [0, Math.floor(frames.length / 2), frames.length - 1];
    frames.forEach((index, place) => {
      const picture = pictured.includes(place) ? scene.pictures[index] : undefined;
      if (place % EVERY && !picture) return;
      const frustum = makeFrustum(scene, scene.frames[index], COLORS[number % COLORS.length]);
      frustum.userData.index = index;
      if (picture) showPicture(frustum.children[1], picture, onLoaded);
      group.add(frustum);
    });
  });
  return group;
}

/** Returns a group of the frustums of key frames and the line of the path through them. */
export function makeKeyFrustums(scene, path) {
  const group = new THREE.Group();
  path.keys.forEach((key, index) => {
    const frustum = makeFrustum(scene, key, KEY_COLOR);
    frustum.userData.key = index;
    group.add(frustum);
  });
  const places = path.frames().map(({ c2w }) => [c2w[0][3], c2w[1][3], c2w[2][3]]);
  const points = places.map((place) => new THREE.Vector3(...place));
  const line = new THREE.BufferGeometry().setFromPoints(points);
  group.add(new THREE.Line(line, new THREE.LineBasicMaterial({ color: KEY_COLOR })));
  return group;
}

/** Hides the frustums of a group that would cover the scene. */
export function hideNear(group, camera) {
  for (const frustum of group.children) {
    const place = new THREE.Vector3().setFromMatrixPosition(frustum.matrix);
    frustum.visible = frustum.isLine || place.distanceTo(camera.position) > NEAREST;
  }
}

/** Returns `{index}` or `{key}` of the frustum under a point of the canvas, or null. */
export function frustumAt(groups, point, camera) {
  const ray = new THREE.Raycaster();
  ray.setFromCamera(point, camera);
  const shown = groups.filter((group) => group.visible).flatMap((group) => group.children);
  const planes = shown.filter((child) => child.visible && child.isGroup).map((f) => f.children[1]);
  const [hit] = ray.intersectObjects(planes, false);
  return hit ? hit.object.parent.userData : null;
}

function makeFrustum(scene, frame, color) {
  const { width, height } = scene;
  const [fx, fy, cx, cy] = frame.intrinsics;
  const corners = [[0, 0], [width, 0], [width, height], [0, height]].map(([x, y]) =>
    new THREE.Vector3((x - cx) / fx, (cy - y) / fy, -1).multiplyScalar(SIZE),
  );
  const origin = new THREE.Vector3();
  const points = corners.flatMap((corner, k) => [origin, corner, corner, corners[(k + 1) % 4]]);
  const lines = new THREE.LineSegments(
    new THREE.BufferGeometry().setFromPoints(points),
    new THREE.LineBasicMaterial({ color }),
  );
  const plane = new THREE.Mesh(
    new THREE.PlaneGeometry((SIZE * width) / fx, (SIZE * height) / fy),
    // Without a picture the plane is there for clicks alone.
    new THREE.MeshBasicMaterial({ side: THREE.DoubleSide, colorWrite: false, depthWrite: false }),
  );
  plane.position.copy(corners[0]).add(corners[2]).multiplyScalar(0.5);
  const frustum = new THREE.Group().add(lines, plane);
  frustum.matrixAutoUpdate = false;
  frustum.matrix.copy(matrixOf(frame.c2w));
  return frustum;
}

function showPicture(plane, picture, onLoaded) {
  new THREE.TextureLoader().load(picture, (texture) => {
    texture.colorSpace = THREE.NoColorSpace;
    Object.assign(plane.material, { map: texture, colorWrite: true, depthWrite: true });
    plane.material.needsUpdate = true;
    onLoaded();
  });
}
