// The screen: a target of half floats that is copied to the canvas, coarser while things move.

import * as THREE from "three";

// A frame in motion should take this long; the scale of its picture is chosen for it.
const MILLISECONDS = 40;
const COARSEST = 0.125;
// Before anything was measured.
const FIRST_SCALE = 0.25;
const SHARPEST = 2;

const VERTEX =
  "varying vec2 at; void main() { at = uv; gl_Position = vec4(position.xy, 0., 1.); }";
const FRAGMENT = `uniform sampler2D image; varying vec2 at;
  void main() { gl_FragColor = vec4(clamp(texture2D(image, at).rgb, 0., 1.), 1.); }`;

/** Draws into a target of half floats, then copies that to the canvas. */
export class Screen {
  constructor() {
    this.renderer = new THREE.WebGLRenderer({ antialias: false });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, SHARPEST));
    this.gl = this.renderer.getContext();
    this.halfFloat = ["EXT_color_buffer_float", "EXT_color_buffer_half_float"].some((name) =>
      this.gl.getExtension(name),
    );
    const type = this.halfFloat ? THREE.HalfFloatType : THREE.UnsignedByteType;
    this.target = new THREE.WebGLRenderTarget(1, 1, { type });
    this.size = { width: 1, height: 1 };
    this.scale = 0;
    this.milliseconds = null;
    const material = new THREE.ShaderMaterial({
      uniforms: { image: { value: this.target.texture } },
      depthTest: false,
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
    });
    this.copy = new THREE.Scene().add(new THREE.Mesh(new THREE.PlaneGeometry(2, 2), material));
    this.flat = new THREE.OrthographicCamera(-1, 1, 1, -1, 0, 1);
  }

  /** The largest width or height of a picture. */
  get largest() {
    return Math.min(this.renderer.capabilities.maxTextureSize, 8192);
  }

  setSize(width, height) {
    this.size = { width, height };
    this.renderer.setSize(width, height);
  }

  /** Whether the last frame is finished; measures how long it took. */
  isIdle() {
    if (!this.fence) return true;
    if (this.gl.clientWaitSync(this.fence, 0, 0) === this.gl.TIMEOUT_EXPIRED) return false;
    this.gl.deleteSync(this.fence);
    this.fence = null;
    this.milliseconds = Math.max(1, performance.now() - this.begin);
    return true;
  }

  /** Returns the scale of the picture at which a frame takes little time. */
  coarseScale() {
    if (this.milliseconds === null) return FIRST_SCALE;
    const whole = this.milliseconds / this.scale ** 2;
    return THREE.MathUtils.clamp(Math.sqrt(MILLISECONDS / whole), COARSEST, 1);
  }

  draw(scene, camera, scale = 1) {
    const { renderer, target } = this;
    const size = renderer.getDrawingBufferSize(new THREE.Vector2());
    target.setSize(Math.ceil(size.x * scale), Math.ceil(size.y * scale));
    this.scale = scale;
    this.begin = performance.now();
    renderer.setRenderTarget(target);
    renderer.clear();
    renderer.render(scene, camera);
    renderer.setRenderTarget(null);
    renderer.render(this.copy, this.flat);
    if (this.fence) this.gl.deleteSync(this.fence);
    this.fence = this.gl.fenceSync(this.gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    this.gl.flush();
  }

  /** Returns a PNG of `width` x `height` pixels as a data URL; `fit` adapts the camera to a size. */
  picture(scene, camera, width, height, fit) {
    const { renderer, size } = this;
    const ratio = renderer.getPixelRatio();
    renderer.setPixelRatio(1);
    renderer.setSize(width, height, false);
    fit({ width, height });
    this.draw(scene, camera);
    const url = renderer.domElement.toDataURL("image/png");
    renderer.setPixelRatio(ratio);
    renderer.setSize(size.width, size.height);
    return url;
  }
}
