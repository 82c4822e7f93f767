#version 120
uniform sampler2D u_shadows;
uniform vec3 u_shade;        // colour of full shadow
uniform float u_sharpness;
uniform float u_soft;        // width over which a panel fades out at its rim; 0 for a sharp one
varying vec2 v_place;
varying vec3 v_shape;
varying vec4 v_fill;
varying vec4 v_rim;
varying vec3 v_shadow;

void main() {
    // signed distance to the outline of a rounded rectangle
    vec2 half_ = v_shape.xy * 0.5;
    vec2 q = abs(v_place - half_) - (half_ - v_shape.z);
    float d = length(max(q, vec2(0.0))) + min(max(q.x, q.y), 0.0) - v_shape.z;
    float pixel = max(fwidth(d), 1.0e-6);
    float cover = 1.0 - smoothstep(-max(pixel, u_soft), 0.0, d);
    if (cover < 0.01) discard;
    vec3 colour = mix(v_fill.rgb, u_shade, texture2D(u_shadows, v_shadow.xy).r * v_shadow.z);
    float rim = 1.0 - smoothstep(0.6, 1.4, -d / (pixel * u_sharpness));
    colour = mix(colour, v_rim.rgb, rim * v_rim.a);
    gl_FragColor = vec4(colour, v_fill.a * cover);
}
