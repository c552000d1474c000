// The stage: splats, frustums and the camera; drawn when something has changed.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { SplatEdit, SplatEditRgbaBlendMode, SplatEditSdf, SplatEditSdfType } from "@sparkjsdev/spark";
import { boxIn, poseOf, setLens, setPose } from "./cameras.js";
import { frustumAt, hideNear, makeFrustums, makeKeyFrustums } from "./frustums.js";
import { Screen } from "./screen.js";
import { loadSplats, makeSpark } from "./splats.js";
import { WalkControls } from "./walk.js";

// Milliseconds without motion after which a sharp picture is drawn.
const REST = 200;
const UPS = { "-y": [0, -1, 0], y: [0, 1, 0], z: [0, 0, 1], "-z": [0, 0, -1] };

export class Stage {
  constructor(scene, parent) {
    this.scene = scene;
    this.parent = parent;
    this.moments = [];
    this.time = 0;
    this.frame = null;
    this.drawn = 0;
    this.screen = new Screen();
    this.canvas = this.screen.renderer.domElement;
    parent.appendChild(this.canvas);
    this.world = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(40, 1, 0.01, 500);
    this.spark = makeSpark(this.screen.renderer, () => this.touch());
    this.frustums = makeFrustums(scene, () => this.touch());
    this.keyFrustums = new THREE.Group();
    this.world.add(this.spark, this.frustums, this.keyFrustums);
    this.lens = scene.home.intrinsics;
    this.mode = "orbit";
    this.walk = new WalkControls(this, this.canvas);
    this.setUp("-y");
    this.setBackground("#ffffff");
    this.stir();
  }

  /** Loads one file of splats; the first moment is shown. */
  async addMoment(bytes) {
    const mesh = await loadSplats(bytes, this.scene.type);
    mesh.visible = this.moments.length === 0;
    this.moments.push(mesh);
    this.world.add(mesh);
    this.stir();
  }

  /** Something has changed: the next frame is drawn. */
  touch() {
    this.dirty = true;
  }

  /** Something moves: the next frames may be coarse. */
  stir() {
    this.motion = performance.now();
    this.touch();
  }

  /** The user has moved the camera: it is free of any input frame. */
  moved() {
    this.frame = null;
    this.onMoved?.();
    this.stir();
  }

  setUp(axis) {
    this.camera.up.set(...UPS[axis]);
    const target = this.orbit?.target.clone() ?? new THREE.Vector3(0, 0, 1);
    this.orbit?.dispose();
    const { position, quaternion } = this.camera.clone();
    // OrbitControls reads the up axis when it is made, and turns the camera to the origin.
    this.orbit = new OrbitControls(this.camera, this.canvas);
    this.camera.position.copy(position);
    this.camera.quaternion.copy(quaternion);
    this.orbit.target.copy(target);
    this.orbit.addEventListener("change", () => this.moved());
    this.setMode(this.mode);
    if (this.mode === "orbit") this.orbit.update();
  }

  setMode(mode) {
    this.mode = mode;
    this.orbit.enabled = mode === "orbit";
    if (mode === "orbit" && this.moments.length) this.aim();
  }

  /** Lets the orbit turn about a point in the view. */
  aim(distance = 1) {
    const ahead = this.camera.getWorldDirection(new THREE.Vector3());
    this.orbit.target.copy(this.camera.position).addScaledVector(ahead, distance);
  }

  /** Turns about the orbit's target: x to the side, y up, z away from it. */
  turnAround(step) {
    const { camera, orbit } = this;
    camera.position.sub(orbit.target).multiplyScalar(1 + step.z).add(orbit.target);
    orbit.rotateLeft(-step.x);
    orbit.rotateUp(step.y);
  }

  setBackground(color) {
    // Colours stay sRGB values, as the splats' do.
    const value = new THREE.Color().setStyle(color, THREE.LinearSRGBColorSpace);
    this.screen.renderer.setClearColor(value, 1);
    this.touch();
  }

  setTime(time) {
    const last = Math.max(0, this.moments.length - 1);
    this.time = THREE.MathUtils.clamp(Math.round(time), 0, last);
    this.moments.forEach((mesh, number) => (mesh.visible = number === this.time));
    this.stir();
  }

  setLeastOpacity(opacity) {
    this.spark.material.uniforms.leastOpacity.value = opacity;
    this.touch();
  }

  /** Hides splats outside of a box (two ends of x, y, z), or none (null). */
  setBox(box) {
    if (this.edit) this.world.remove(this.edit);
    this.edit = null;
    if (box) {
      const ends = new THREE.Box3().setFromPoints([
        new THREE.Vector3(...box.slice(0, 3)),
        new THREE.Vector3(...box.slice(3)),
      ]);
      const shape = new SplatEditSdf({ type: SplatEditSdfType.BOX, invert: true, opacity: 0 });
      ends.getCenter(shape.position);
      ends.getSize(shape.scale).multiplyScalar(0.5);
      this.edit = new SplatEdit({ rgbaBlendMode: SplatEditRgbaBlendMode.MULTIPLY, sdfs: [shape] });
      this.edit.add(shape);
      this.world.add(this.edit);
    }
    this.touch();
  }

  /** Shows the key frames of a path. */
  setPath(path) {
    this.world.remove(this.keyFrustums);
    this.keyFrustums = makeKeyFrustums(this.scene, path);
    this.world.add(this.keyFrustums);
    this.touch();
  }

  /** Shows what a frame of a camera file sees; `index` names one of the scene's. */
  lookThrough(frame, index = null) {
    setPose(this.camera, frame.c2w);
    this.lens = frame.intrinsics;
    this.frame = index;
    this.fit(this.screen.size, this.margins);
    this.aim();
    this.stir();
  }

  /** Returns pose and intrinsics of the camera. */
  currentFrame() {
    this.camera.updateMatrixWorld(true);
    return { c2w: poseOf(this.camera.matrixWorld), intrinsics: [...this.lens] };
  }

  /** Adapts the projection to a size: the whole picture of the lens is seen, and more around it. */
  fit(size, margins) {
    setLens(this.camera, this.lens, boxIn(size, this.scene, margins), size);
  }

  /** Fills the window; `margins` in CSS pixels are covered by other things. */
  resize(margins) {
    const { clientWidth, clientHeight } = this.parent;
    this.margins = margins;
    this.screen.setSize(clientWidth, clientHeight);
    this.fit(this.screen.size, margins);
    this.stir();
  }

  /** Where the lens's picture lies on the canvas, in CSS pixels. */
  pictureBox() {
    return boxIn(this.screen.size, this.scene, this.margins);
  }

  /** Returns `{index}` or `{key}` of the frustum that was clicked, or null. */
  frustumUnder(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 2 - 1;
    const y = 1 - ((event.clientY - box.top) / box.height) * 2;
    return frustumAt([this.frustums, this.keyFrustums], new THREE.Vector2(x, y), this.camera);
  }

  /** Whether the sharp picture of the present state is on the canvas. */
  get isSettled() {
    const { spark, screen } = this;
    const sorting = spark.sorting || spark.sortDirty || spark.updateTimeoutId !== -1;
    return !this.dirty && !sorting && !screen.fence && screen.scale === 1;
  }

  /** Draws if something has changed, and once more when all is at rest. */
  draw(now, showFrustums) {
    if (!this.screen.isIdle()) return;
    const scale = now - this.motion < REST ? this.screen.coarseScale() : 1;
    if (!this.dirty && scale <= this.screen.scale) return;
    this.dirty = false;
    for (const group of [this.frustums, this.keyFrustums]) {
      group.visible = showFrustums && this.frame === null;
      hideNear(group, this.camera);
    }
    this.screen.draw(this.world, this.camera, scale);
    this.drawn++;
  }

  /** Returns a PNG of the view in another size, as a data URL. */
  picture(width, height) {
    const fit = (size) => this.fit(size);
    const url = this.screen.picture(this.world, this.camera, width, height, fit);
    this.fit(this.screen.size, this.margins);
    this.touch();
    return url;
  }
}
