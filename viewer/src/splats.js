// Gaussian splats, drawn as faithfully as the project's own renderer does.
//
// Faint Gaussians vanish where a viewer blends into 8 bits, so the splats are blended into a target
// of half floats, in sRGB values as they were trained, and copied to the screen once.

import * as THREE from "three";
import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";

const LEAST_ALPHA = 1 / 255;
// A line of Spark's vertex shader, and the same with quads that end where alpha falls under the
// least one: a quarter of the pixels for faint Gaussians.
const QUAD = "vSplatUv = position.xy * adjustedStdDev;";
const CUT_QUAD = `if (rgba.a < leastOpacity) { gl_Position = vec4(0.0, 0.0, 2.0, 1.0); return; }
  adjustedStdDev = min(adjustedStdDev,
  sqrt(max(0.0, 2.0 * log(rgba.a / minAlpha)))); ${QUAD}`;

/** Returns Spark's renderer with the settings of the training's renderer. */
export function makeSpark(renderer, onDirty) {
  const spark = new SparkRenderer({
    renderer,
    preBlurAmount: 0.3,
    blurAmount: 0,
    sortRadial: false,
    minAlpha: LEAST_ALPHA,
    maxStdDev: 3.33,
    accumExtSplats: true,
    onDirty,
  });
  const shader = spark.material.vertexShader;
  if (!shader.includes(QUAD)) throw new Error("Spark's vertex shader is not that of version 2.2.0");
  const declared = shader.replace("void main()", "uniform float leastOpacity;\nvoid main()");
  spark.material.vertexShader = declared.replace(QUAD, CUT_QUAD);
  spark.material.uniforms.leastOpacity = { value: 0 };
  const before = spark.onBeforeRender.bind(spark);
  spark.onBeforeRender = (...parts) => {
    before(...parts);
    // Into a target Spark would blend in linear light.
    spark.uniforms.encodeLinear.value = false;
  };
  return spark;
}

/** Returns the mesh of one moment from the bytes of a file. */
export async function loadSplats(bytes, type) {
  const mesh = new SplatMesh({ fileBytes: bytes, fileType: type, extSplats: true, lod: false });
  await mesh.initialized;
  return mesh;
}

/** Draws into a target of half floats, then copies that to the screen. */
export class Screen {
  constructor(renderer) {
    this.renderer = renderer;
    const extensions = renderer.getContext();
    this.halfFloat = extensions.getExtension("EXT_color_buffer_float") !== null;
    const type = this.halfFloat ? THREE.HalfFloatType : THREE.UnsignedByteType;
    this.target = new THREE.WebGLRenderTarget(1, 1, { type });
    const material = new THREE.ShaderMaterial({
      uniforms: { image: { value: this.target.texture } },
      depthTest: false,
      vertexShader:
        "varying vec2 at; void main() { at = uv; gl_Position = vec4(position.xy, 0., 1.); }",
      fragmentShader: `uniform sampler2D image; varying vec2 at;
        void main() { gl_FragColor = vec4(clamp(texture2D(image, at).rgb, 0., 1.), 1.); }`,
    });
    this.scene = new THREE.Scene().add(new THREE.Mesh(new THREE.PlaneGeometry(2, 2), material));
    this.camera = new THREE.OrthographicCamera(-1, 1, 1, -1, 0, 1);
  }

  setSize(width, height) {
    this.renderer.setSize(width, height);
    const size = this.renderer.getDrawingBufferSize(new THREE.Vector2());
    this.target.setSize(size.x, size.y);
  }

  draw(scene, camera) {
    this.renderer.setRenderTarget(this.target);
    this.renderer.clear();
    this.renderer.render(scene, camera);
    this.renderer.setRenderTarget(null);
    this.renderer.render(this.scene, this.camera);
  }
}
