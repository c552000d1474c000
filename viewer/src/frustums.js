// Frustums: the cameras of the input's paths as pyramids, with a picture on those that have one.

import * as THREE from "three";

const COLORS = [0xd62728, 0x1f77b4, 0x2ca02c, 0xff7f0e, 0x9467bd, 0x8c564b];
const SIZE = 0.05;
const EVERY = 4;

/** Returns a group of frustums; `onLoaded` is called for each picture that arrives. */
export function makeFrustums(scene, onLoaded) {
  const group = new THREE.Group();
  scene.trajectories.forEach((trajectory, number) => {
    trajectory.frames.forEach((index, place) => {
      const picture = scene.pictures[index];
      if (place % EVERY && !picture) return;
      const color = COLORS[number % COLORS.length];
      group.add(makeFrustum(scene, index, color, picture, onLoaded));
    });
  });
  return group;
}

/** Returns the index of the frame whose frustum lies under a point of the canvas, or null. */
export function frameAt(group, point, camera) {
  const ray = new THREE.Raycaster();
  ray.setFromCamera(point, camera);
  const planes = group.children.map((child) => child.children[1]);
  const [hit] = group.visible ? ray.intersectObjects(planes, false) : [];
  return hit ? hit.object.userData.index : null;
}

function makeFrustum(scene, index, color, picture, onLoaded) {
  const { width, height } = scene;
  const frame = scene.frames[index];
  const [fx, fy, cx, cy] = frame.intrinsics;
  const corners = [[0, 0], [width, 0], [width, height], [0, height]].map(([x, y]) =>
    new THREE.Vector3((x - cx) / fx, (y - cy) / fy, 1).multiplyScalar(SIZE),
  );
  const origin = new THREE.Vector3();
  const points = corners.flatMap((corner, k) => [origin, corner, corner, corners[(k + 1) % 4]]);
  const lines = new THREE.LineSegments(
    new THREE.BufferGeometry().setFromPoints(points),
    new THREE.LineBasicMaterial({ color }),
  );
  const plane = new THREE.Mesh(
    new THREE.PlaneGeometry((SIZE * width) / fx, (SIZE * height) / fy),
    new THREE.MeshBasicMaterial({
      side: THREE.DoubleSide,
      transparent: true,
      opacity: picture ? 1 : 0.05,
      color: picture ? 0xffffff : color,
    }),
  );
  plane.position.z = SIZE;
  // OpenCV's y points down.
  plane.rotation.x = Math.PI;
  plane.userData.index = index;
  if (picture)
    new THREE.TextureLoader().load(picture, (texture) => {
      texture.colorSpace = THREE.NoColorSpace;
      plane.material.map = texture;
      plane.material.needsUpdate = true;
      onLoaded();
    });
  const group = new THREE.Group().add(lines, plane);
  group.matrixAutoUpdate = false;
  group.matrix.set(...frame.c2w.flat());
  return group;
}
