// The stage: splats, frustums and the camera; drawn when something has changed.

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { SplatEdit, SplatEditRgbaBlendMode, SplatEditSdf, SplatEditSdfType } from "@sparkjsdev/spark";
import { applyFrame, frameOf } from "./cameras.js";
import { frameAt, makeFrustums } from "./frustums.js";
import { Screen, loadSplats, makeSpark } from "./splats.js";
import { WalkControls } from "./walk.js";

// Sorting in the background ends a few frames after a change.
const SETTLING = 3;
const UPS = { "-y": [0, -1, 0], y: [0, 1, 0], z: [0, 0, 1], "-z": [0, 0, -1] };

export class Stage {
  constructor(scene, parent) {
    this.scene = scene;
    this.moments = [];
    this.time = 0;
    this.dirty = SETTLING;
    this.drawn = 0;
    this.renderer = new THREE.WebGLRenderer({ antialias: false, preserveDrawingBuffer: true });
    this.canvas = this.renderer.domElement;
    parent.appendChild(this.canvas);
    this.screen = new Screen(this.renderer);
    this.world = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(40, 1, 0.01, 500);
    this.spark = makeSpark(this.renderer, () => this.touch());
    this.frustums = makeFrustums(scene, () => this.touch());
    this.world.add(this.spark, this.frustums);
    this.orbit = new OrbitControls(this.camera, this.canvas);
    this.orbit.addEventListener("change", () => this.touch());
    this.walk = new WalkControls(this.camera, this.canvas, () => this.moved());
    this.setUp("-y");
    this.setBackground("#ffffff");
  }

  /** Loads one file of splats; the first moment is shown. */
  async addMoment(bytes) {
    const mesh = await loadSplats(bytes, this.scene.type);
    mesh.visible = this.moments.length === 0;
    this.moments.push(mesh);
    this.world.add(mesh);
    this.touch();
  }

  touch() {
    this.dirty = SETTLING;
  }

  /** The user has moved the camera: it is free of any input frame. */
  moved() {
    this.frame = null;
    this.onMoved?.();
    this.touch();
  }

  setUp(axis) {
    this.camera.up.set(...UPS[axis]);
    this.orbit.object = this.camera;
    // OrbitControls reads the up axis when it is made.
    const target = this.orbit.target.clone();
    this.orbit.dispose();
    this.orbit = new OrbitControls(this.camera, this.canvas);
    this.orbit.target.copy(target);
    this.orbit.addEventListener("change", () => this.touch());
    this.orbit.addEventListener("start", () => this.moved());
    this.setMode(this.mode ?? "orbit");
  }

  setMode(mode) {
    this.mode = mode;
    this.orbit.enabled = mode === "orbit";
    this.walk.mode = mode === "orbit" ? null : mode;
    if (mode === "orbit" && this.moments.length) this.aim();
  }

  /** Lets the orbit turn about a point in the view. */
  aim(distance = 1) {
    const ahead = this.camera.getWorldDirection(new THREE.Vector3());
    this.orbit.target.copy(this.camera.position).addScaledVector(ahead, distance);
  }

  setBackground(color) {
    // Colours stay sRGB values, as the splats' do.
    this.renderer.setClearColor(new THREE.Color().setStyle(color, THREE.LinearSRGBColorSpace), 1);
    this.touch();
  }

  setTime(time) {
    this.time = THREE.MathUtils.clamp(Math.round(time), 0, this.moments.length - 1);
    this.moments.forEach((mesh, number) => (mesh.visible = number === this.time));
    this.touch();
  }

  /** Hides splats outside of a box (least and largest x, y, z), or none (null). */
  setBox(box) {
    if (this.edit) this.world.remove(this.edit);
    this.edit = null;
    if (box) {
      const [low, high] = [new THREE.Vector3(...box.slice(0, 3)), new THREE.Vector3(...box.slice(3))];
      const shape = new SplatEditSdf({ type: SplatEditSdfType.BOX, invert: true, opacity: 0 });
      shape.position.copy(low).add(high).multiplyScalar(0.5);
      shape.scale.copy(high).sub(low).multiplyScalar(0.5);
      this.edit = new SplatEdit({ rgbaBlendMode: SplatEditRgbaBlendMode.MULTIPLY, sdfs: [shape] });
      this.edit.add(shape);
      this.world.add(this.edit);
    }
    this.touch();
  }

  /** Shows exactly what a frame of a camera file sees; `index` names one of the scene's. */
  lookThrough(frame, index = null) {
    this.resize(this.scene.width / this.scene.height);
    applyFrame(this.camera, frame, this.scene.width, this.scene.height);
    this.frame = index;
    this.aim();
    this.touch();
  }

  currentFrame() {
    return frameOf(this.camera, this.scene.width, this.scene.height);
  }

  /** Fills the window, or the largest part of it with the aspect of the scene's pictures. */
  resize(aspect = innerWidth / innerHeight) {
    const width = Math.floor(Math.min(innerWidth, innerHeight * aspect));
    this.screen.setSize(width, Math.round(width / aspect));
    this.camera.clearViewOffset();
    this.camera.aspect = aspect;
    this.camera.updateProjectionMatrix();
    this.touch();
  }

  /** Returns the index of the frame whose frustum was clicked, or null. */
  frameUnder(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 2 - 1;
    const y = 1 - ((event.clientY - box.top) / box.height) * 2;
    return frameAt(this.frustums, new THREE.Vector2(x, y), this.camera);
  }

  /** Draws if something has changed; `hideFrustums` while a path is played or looked through. */
  draw(showFrustums) {
    if (this.dirty <= 0) return false;
    this.dirty--;
    this.frustums.visible = showFrustums && this.frame === null;
    this.screen.draw(this.world, this.camera);
    this.drawn++;
    return true;
  }

  /** Returns a PNG of the view with `width` pixels a row, as a data URL. */
  picture(width) {
    const before = this.renderer.getSize(new THREE.Vector2());
    const ratio = this.renderer.getPixelRatio();
    this.renderer.setPixelRatio(1);
    this.screen.setSize(width, Math.round((width * before.y) / before.x));
    this.screen.draw(this.world, this.camera);
    const url = this.canvas.toDataURL("image/png");
    this.renderer.setPixelRatio(ratio);
    this.screen.setSize(before.x, before.y);
    this.touch();
    return url;
  }
}
